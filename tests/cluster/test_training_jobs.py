"""GRPO on two nodes, by Kubeflow Trainer: the same weights as in place, whatever is lost on the way.

This machine plays the step's pod, except where a test is about that pod itself. Needs Kubeflow Trainer in
the cluster.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from flowmap.artifacts.manifest import build_manifest
from flowmap.artifacts.store import ObjectStore, open_store
from flowmap.artifacts.transfer import publish
from flowmap.kubernetes.labels import GROUP, PLURAL, VERSION
from flowmap.launching.job import Job
from flowmap.launching.train_job_spec import TrainJobSettings
from flowmap_pipelines.image_lock import Images
from tests.grpo_finetuning.untrained import job_of, write_untrained

REQUESTS, LIMITS = {"cpu": "200m", "memory": "512Mi"}, {"cpu": "1", "memory": "2Gi"}
INDEX = "batch.kubernetes.io/job-completion-index"
LAUNCH = """
import sys
from pathlib import Path
from flowmap.errors import FlowmapError
from flowmap.launching.job import Job
from flowmap.launching.launcher import launch
try:
    launch([Job.model_validate_json(Path(sys.argv[1]).read_bytes())])
except FlowmapError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


class Launcher:
    """A process that launches one job, and what it says."""

    def __init__(self, job: Job, folder: Path, environment: dict[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "job.json").write_text(job.model_dump_json())
        self.log = folder / "log"
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, str(folder / "job.json")],
            env={**os.environ, **environment},
            stderr=self.log.open("w"),
        )

    def told(self) -> str:
        return self.log.read_text()

    def wait_until(self, text: str, limit_s: float = 240) -> None:
        wait_until(lambda: text in self.told() or self.process.poll() is not None, limit_s)
        assert text in self.told(), self.told()

    def wait(self, limit_s: float = 400) -> int:
        return self.process.wait(limit_s)


def wait_until(holds: Callable[[], object], limit_s: float = 120) -> None:
    until = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.3)


@pytest.fixture(scope="module")
def store(store_url: str) -> ObjectStore:
    return open_store(store_url)


@pytest.fixture
def on_cluster(chart: Any, namespace: str, images: Images) -> Callable[..., dict[str, str]]:
    """The environment of a launcher whose profile says two nodes."""

    def environment(**changes: Any) -> dict[str, str]:
        told = TrainJobSettings(
            nodes=2,
            runtime="flowmap-training",
            image=images.train,
            requests=REQUESTS,
            limits=LIMITS,
            cpus=1,
            deadline_s=600,
        ).model_copy(update=changes)
        return {"FLOWMAP_TRAINJOB": told.model_dump_json(), "FLOWMAP_NAMESPACE": namespace}

    return environment


@pytest.fixture
def job(tmp_path: Path, store: ObjectStore, request: pytest.FixtureRequest) -> Job:
    """Two processes with optimizer states split over both (ZeRO 1), from inputs that lie in the store."""
    write_untrained(tmp_path)
    changes = {"processes": 2, "zero_stage": 1, "rollouts": 60, "checkpoint_every": 10}
    made = job_of(tmp_path, "out", "flowmap.grpo_finetuning.worker", **changes)
    manifests = {}
    for name, folder in made.inputs.items():
        manifests[name] = build_manifest(folder, step=name, step_digest="0" * 64)
        publish(store, folder, manifests[name])
    told = {"manifests": manifests, "store": store.url, "checkpoints": f"checkpoints/{request.node.name}/d"}
    return made.model_copy(update=told)


def fresh(job: Job, folder: Path) -> Job:
    """The same job with an empty place of its own."""
    (folder / "out").mkdir(parents=True)
    return job.model_copy(update={"out": folder / "out", "scratch": folder / "scratch"})


@pytest.fixture
def in_place(job: Job, tmp_path: Path) -> dict[str, bytes]:
    """What the two processes come to on this machine."""
    here = fresh(job, tmp_path / "in-place").model_copy(
        update={"checkpoints": f"{job.checkpoints}-in-place"}
    )
    launcher = Launcher(here, tmp_path / "in-place", {"OMP_NUM_THREADS": "1"})
    assert launcher.wait() == 0, launcher.told()
    return results(here)


def results(job: Job) -> dict[str, bytes]:
    files = sorted(path for path in job.out.rglob("*") if path.is_file())
    return {str(path.relative_to(job.out)): path.read_bytes() for path in files}


@pytest.fixture
def train_jobs(core: client.CoreV1Api, namespace: str) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """The TrainJobs there are; none may be left at a test's end."""

    def there() -> list[dict[str, Any]]:
        found = client.CustomObjectsApi().list_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL)
        return list(found["items"])

    yield there
    wait_until(lambda: not there())


def pods_of(core: client.CoreV1Api, namespace: str) -> list[Any]:
    return list(core.list_namespaced_pod(namespace, label_selector="flowmap/step=training").items)


def test_two_nodes_come_to_the_weights_of_two_processes_in_place(
    job: Job, in_place: dict[str, bytes], on_cluster: Any, tmp_path: Path, train_jobs: Any
) -> None:
    there = fresh(job, tmp_path / "cluster")
    launcher = Launcher(there, tmp_path / "cluster", on_cluster())
    assert launcher.wait() == 0, launcher.told()
    assert "60/60" in launcher.told()  # the first node's own words
    assert results(there) == in_place


def test_a_lost_node_changes_no_weight(
    job: Job,
    in_place: dict[str, bytes],
    on_cluster: Any,
    store: ObjectStore,
    core: client.CoreV1Api,
    namespace: str,
    tmp_path: Path,
    train_jobs: Any,
) -> None:
    there = fresh(job, tmp_path / "cluster")
    launcher = Launcher(there, tmp_path / "cluster", on_cluster())
    wait_until(
        lambda: store.exists(f"{job.checkpoints}/00000010/complete") or launcher.process.poll() is not None,
        240,
    )
    lost = next(pod for pod in pods_of(core, namespace) if pod.metadata.labels[INDEX] == "1")
    core.delete_namespaced_pod(lost.metadata.name, namespace, grace_period_seconds=0)
    assert launcher.wait() == 0, launcher.told()
    assert "goes on after" in launcher.told()
    assert results(there) == in_place


def test_a_queued_job_waits(
    job: Job, on_cluster: Any, namespace: str, tmp_path: Path, train_jobs: Any
) -> None:
    """As Kueue does it: the job is suspended, and set free later."""
    there = fresh(job, tmp_path / "cluster")
    launcher = Launcher(there, tmp_path / "cluster", on_cluster(deadline_s=100))
    wait_until(train_jobs)
    (found,) = train_jobs()
    custom, where = client.CustomObjectsApi(), (GROUP, VERSION, namespace, PLURAL, found["metadata"]["name"])
    custom.patch_namespaced_custom_object(*where, {"spec": {"suspend": True}})
    launcher.wait_until("waits in its queue")
    time.sleep(5)
    custom.patch_namespaced_custom_object(*where, {"spec": {"suspend": False}})
    assert launcher.wait() == 0, launcher.told()


def test_a_failing_process_is_told_with_its_traceback_at_once(
    job: Job, on_cluster: Any, tmp_path: Path, train_jobs: Any
) -> None:
    without = {name: manifest for name, manifest in job.manifests.items() if name != "reward"}
    there = fresh(job.model_copy(update={"manifests": without}), tmp_path / "cluster")
    launcher = Launcher(there, tmp_path / "cluster", on_cluster())
    assert launcher.wait() == 1
    told = launcher.told()
    assert "InvariantError: flowmap.grpo_finetuning.worker failed in process" in told
    assert "Traceback (most recent call last)" in told
    assert "KeyError: 'reward'" in told


def test_an_image_that_is_not_there_is_told_within_a_minute(
    job: Job, on_cluster: Any, tmp_path: Path, train_jobs: Any
) -> None:
    there = fresh(job, tmp_path / "cluster")
    launcher = Launcher(
        there, tmp_path / "cluster", on_cluster(image=f"localhost/nothing@sha256:{'0' * 64}")
    )
    assert launcher.wait() == 1
    assert "can't start" in launcher.told()
    assert "image" in launcher.told()


def test_what_takes_too_long_is_ended(job: Job, on_cluster: Any, tmp_path: Path, train_jobs: Any) -> None:
    there = fresh(job, tmp_path / "cluster")
    launcher = Launcher(there, tmp_path / "cluster", on_cluster(deadline_s=1))
    assert launcher.wait() == 1
    assert "longer than the profile's trainjob.deadline_s" in launcher.told()


def test_a_launcher_that_comes_again_goes_on_and_one_that_does_not_is_cleaned_up_after(
    job: Job, on_cluster: Any, namespace: str, tmp_path: Path, train_jobs: Any
) -> None:
    there, environment = fresh(job, tmp_path / "cluster"), on_cluster()
    first = Launcher(there, tmp_path / "cluster", environment)
    first.wait_until("runs on")
    first.process.kill()
    (name,) = [found["metadata"]["name"] for found in train_jobs()]
    again = Launcher(there, tmp_path / "cluster" / "again", environment)
    again.wait_until(f"goes on with TrainJob {name}")
    again.process.kill()
    gc = [sys.executable, "-m", "flowmap_pipelines.cli", "gc", "--cluster", "--namespace", namespace]
    kept = subprocess.run([*gc], check=True, capture_output=True, text=True)
    assert "nothing is left over" in kept.stdout
    time.sleep(2)
    told = subprocess.run([*gc, "--unseen", "1s"], check=True, capture_output=True, text=True)
    assert f"deleted trainjob {name}: nobody has followed it" in told.stdout
