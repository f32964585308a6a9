"""GRPO as a TrainJob of two nodes, inside a run of Kubeflow Pipelines."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from kubernetes import client

from flowmap.artifacts.store import open_store
from flowmap.kubernetes.labels import GROUP, PLURAL, VERSION
from flowmap.lineage.record import run_records
from flowmap_pipelines.profile import shipped_profiles
from tests.faults import fault
from tests.kubeflow.conftest import Flowmap

TWO = ("--profile", "two-nodes.yaml", "--set", "grpo_finetuning.processes=2")


def wait_until(holds: Callable[[], Any], limit_s: float = 300) -> Any:
    until = time.monotonic() + limit_s
    while not (found := holds()):
        assert time.monotonic() < until
        time.sleep(1)
    return found


@pytest.fixture(scope="module")
def two_nodes(flowmap: Flowmap) -> Flowmap:
    """The command line with a profile that trains on two nodes."""
    profile = yaml.safe_load(shipped_profiles()["local"].read_text())
    requests, limits = {"cpu": "200m", "memory": "512Mi"}, {"cpu": "1", "memory": "2Gi"}
    profile["steps"]["grpo_finetuning"] |= {
        "requests": {"cpu": "50m", "memory": "256Mi"},
        "retries": {"attempts": 2, "backoff": "1s"},
        "trainjob": {"nodes": 2, "requests": requests, "limits": limits, "deadline_s": 900},
    }
    (flowmap.folder / "two-nodes.yaml").write_text(yaml.safe_dump(profile))
    return flowmap


@pytest.fixture
def train_jobs(namespace: str) -> Iterator[Callable[[], list[str]]]:
    """The names of the TrainJobs there are; none may be left."""

    def there() -> list[str]:
        found = client.CustomObjectsApi().list_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL)
        return [each["metadata"]["name"] for each in found["items"]]

    yield there
    wait_until(lambda: not there())


def submit(flowmap: Flowmap, *words: str) -> str:
    found = json.loads(flowmap("submit", "tiny.yaml", "--json", *TWO, *words))
    return str(found["run"])


def launcher(core: client.CoreV1Api, namespace: str, run_id: str) -> Any:
    chosen = f"pipeline/runid={run_id},flowmap/step=grpo_finetuning"
    pods = core.list_namespaced_pod(namespace, label_selector=chosen).items
    return next((pod for pod in pods if pod.status.phase == "Running"), None)


@fault(
    "a pod is lost with its node",
    "Kubeflow",
    "`retries.attempts` of the profile",
    "`flowmap status`",
    of="processes",
)
def test_a_launcher_that_is_lost_is_started_again_and_goes_on_with_its_training(
    two_nodes: Flowmap,
    core: client.CoreV1Api,
    namespace: str,
    store_url: str,
    train_jobs: Callable[[], list[str]],
) -> None:
    run_id = submit(two_nodes, "--set", "grpo_finetuning.rollouts=400")
    wait_until(train_jobs)
    pod = wait_until(lambda: launcher(core, namespace, run_id))
    time.sleep(10)
    (name,) = train_jobs()
    assert two_nodes.try_("logs", run_id, "grpo_finetuning", "--node", "1").returncode == 0
    assert (
        "has no node 2 of grpo_finetuning"
        in two_nodes.try_("logs", run_id, "grpo_finetuning", "--node", "2").stderr
    )
    core.delete_namespaced_pod(pod.metadata.name, namespace, grace_period_seconds=0)
    again = wait_until(lambda: launcher(core, namespace, run_id))
    assert again.metadata.name != pod.metadata.name
    read = core.read_namespaced_pod_log
    wait_until(
        lambda: f"goes on with TrainJob {name}" in read(again.metadata.name, namespace, container="main")
    )
    wait_until(lambda: json.loads(two_nodes("status", run_id, "--json"))["outcome"], 900)
    records = run_records(open_store(store_url), run_id)
    assert not records["grpo_finetuning"].reused
    assert "registry_push" in records
    assert not train_jobs()
    assert '"step": "grpo_finetuning"' in two_nodes(
        "logs", run_id, "grpo_finetuning", "--node", "1"
    )  # from the store


def test_a_cancelled_run_leaves_no_training_job(
    two_nodes: Flowmap, train_jobs: Callable[[], list[str]]
) -> None:
    run_id = submit(two_nodes, "--set", "grpo_finetuning.rollouts=3000")
    wait_until(train_jobs)
    time.sleep(10)
    ended = two_nodes.try_(
        "cancel", run_id, environment={"KUBECONFIG": "/none"}
    )  # the exit handler has to do it
    assert "ends within seconds" in ended.stdout
    wait_until(lambda: json.loads(two_nodes("status", run_id, "--json"))["outcome"] == "cancelled")
    wait_until(lambda: not train_jobs(), 60)
