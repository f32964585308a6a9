"""What a launcher says and does when the API server is away, refuses, or gives back something else.

The API here is a few lines of Python; on a real one, with real pods, the rest is tested: tests/cluster.
"""

import copy
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.client import ApiException
from urllib3.exceptions import MaxRetryError

from flowmap import retrying
from flowmap.artifacts.local_store import LocalStore
from flowmap.artifacts.manifest import build_manifest
from flowmap.artifacts.store import open_store
from flowmap.artifacts.transfer import publish
from flowmap.errors import ConfigError, InvariantError, StoreError
from flowmap.kubernetes import api as kubernetes_api
from flowmap.kubernetes.api import Cluster, ClusterError
from flowmap.launching import train_job as module
from flowmap.launching.job import Failure, Job
from flowmap.launching.train_job import run_train_jobs
from flowmap.launching.train_job_spec import TrainJobSettings, train_job
from tests.faults import fault

SETTINGS = TrainJobSettings(
    nodes=2, runtime="r", image="i@sha256:0", requests={}, limits={}, cpus=1, deadline_s=60, labels={}
)


class Api:
    """One namespace's TrainJobs; `faults` are raised first, one a call, and `change` is a webhook."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.faults: list[Exception] = []
        self.deleted: list[str] = []
        self.events: list[Any] = []
        self.change: Callable[[dict[str, Any]], None] = lambda body: None
        self.when_read: Callable[[str], None] = lambda name: None

    def create_namespaced_custom_object(self, *where: Any, **_: Any) -> dict[str, Any]:
        self._fault()
        body = copy.deepcopy(where[-1])
        self.change(body)
        name = body["metadata"]["name"]
        if name in self.jobs:
            raise ApiException(status=409)
        self.jobs[name] = body
        made: dict[str, Any] = body
        return made

    def get_namespaced_custom_object(self, *where: Any, **_: Any) -> dict[str, Any]:
        self._fault()
        name = where[-1]
        if name not in self.jobs:
            raise ApiException(status=404)
        found = self.jobs[name]
        self.when_read(name)
        return found

    def patch_namespaced_custom_object(self, *_: Any, **__: Any) -> None:
        self._fault()

    def delete_namespaced_custom_object(self, *where: Any, **_: Any) -> None:
        name = where[-1]
        if self.jobs.pop(name, None) is None:
            raise ApiException(status=404)
        self.deleted.append(name)

    def list_namespaced_pod(self, *_: Any, **__: Any) -> Any:
        self._fault()
        return SimpleNamespace(items=[])

    def list_namespaced_event(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(items=self.events)

    def _fault(self) -> None:
        if self.faults:
            raise self.faults.pop(0)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    fake = Api()
    monkeypatch.setattr(module, "connect", lambda: Cluster("ml", fake, fake))
    monkeypatch.setattr(module, "_POLL_S", 0.01)
    monkeypatch.setattr(retrying, "_PAUSE_S", 0.01)
    return fake


@pytest.fixture
def job(tmp_path: Path, api: Api) -> Job:
    """A job whose nodes have results as soon as somebody looks at it the third time."""
    made = Job(
        worker="m",
        section="{}",
        inputs={},
        out=tmp_path / "out",
        scratch=tmp_path / "scratch",
        store=str(tmp_path / "store"),
        checkpoints="checkpoints/grpo_finetuning/d",
        num_processes=2,
    )
    result = tmp_path / "result"
    result.mkdir()
    (result / "weights").write_bytes(b"trained")
    looks = []

    def finish(name: str) -> None:
        looks.append(name)
        if len(looks) == 3:
            leave_results(made, result)
            conditions = [{"type": "Complete", "status": "True"}]
            api.jobs[name]["status"] = {"conditions": conditions}

    api.when_read = finish
    return made


def leave_results(job: Job, folder: Path) -> None:
    manifest = build_manifest(folder, step="training", step_digest="d")
    publish(open_store(job.store), folder, manifest, job.result_prefix)


def away() -> MaxRetryError:
    # Nobody asks it for the pool that it should have.
    return MaxRetryError(None, "/", None)  # type: ignore[arg-type]


@fault(
    "the API server does not answer, or answers 429 or 5xx",
    "the launcher of a training job",
    "the patience",
    "the step fails; `flowmap retry` goes on from the newest checkpoint",
    of="servers",
)
def test_it_goes_on_when_the_api_server_was_away(
    job: Job, api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    api.faults = [
        away(),
        ApiException(status=503, reason="busy"),
        ApiException(status=429, reason="slow"),
        away(),
    ]
    run_train_jobs([job], SETTINGS)
    assert (job.out / "weights").read_bytes() == b"trained"
    assert len(api.deleted) == 1
    assert "the Kubernetes API server can't be reached" in capsys.readouterr().err


@fault(
    "the API server does not answer, or answers 429 or 5xx",
    of="servers",
)
def test_an_api_server_that_stays_away_ends_it(job: Job, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "connect", lambda: Cluster("ml", api, api, patience_s=0.05))
    api.faults = [away() for _ in range(100)]
    with pytest.raises(ClusterError, match="can't be reached"):
        run_train_jobs([job], SETTINGS)


@fault(
    "the store is away while a training job goes on",
    "the launcher; the nodes by themselves",
    "the patience",
    "the step fails",
    of="servers",
)
def test_it_goes_on_when_the_store_was_away(
    job: Job, api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names, away = LocalStore.names, [StoreError("no answer"), StoreError("no answer")]

    def refuse(store: LocalStore, prefix: str) -> Iterator[str]:
        if prefix.endswith("/failures") and api.jobs and away:
            raise away.pop()
        return names(store, prefix)

    monkeypatch.setattr(LocalStore, "names", refuse)
    run_train_jobs([job], SETTINGS)
    assert not away
    assert (job.out / "weights").read_bytes() == b"trained"
    assert "the store can't be used (no answer); asking again" in capsys.readouterr().err


def test_a_webhook_that_changes_what_matters_is_named(job: Job, api: Api) -> None:
    api.change = lambda body: body["spec"]["trainer"].update(numNodes=1)
    with pytest.raises(
        ClusterError, match=r"a webhook of the cluster changed trainer.numNodes of .* from 2 to 1"
    ):
        run_train_jobs([job], SETTINGS)
    assert not api.jobs


def test_a_webhook_that_adds_something_is_no_matter(job: Job, api: Api) -> None:
    api.change = lambda body: body["metadata"]["labels"].update(team="blue")
    run_train_jobs([job], SETTINGS)


def test_an_account_that_may_not_is_told_what_to_do(job: Job, api: Api) -> None:
    api.faults = [ApiException(status=403, reason="Forbidden")]
    with pytest.raises(
        ClusterError, match=r"may not do this in namespace ml \(403\): use the service account"
    ):
        run_train_jobs([job], SETTINGS)


@fault(
    "the API server has just started again and refuses (401, 403) what it allowed before",
    "the launcher",
    "a minute",
    "the step fails and says what is missing",
    of="servers",
)
def test_an_api_server_that_has_just_started_again_is_waited_for(
    job: Job, api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finish, looks = api.when_read, iter(range(100))

    def restart(name: str) -> None:
        if next(looks) == 0:
            api.faults = [ApiException(status=403, reason="Forbidden")] * 3
        finish(name)

    api.when_read = restart
    run_train_jobs([job], SETTINGS)
    assert (job.out / "weights").read_bytes() == b"trained"
    assert "answers 403 Forbidden, though it has allowed this account before" in capsys.readouterr().err
    # One that goes on to refuse is told all the same.
    monkeypatch.setattr(kubernetes_api, "_REFUSED_S", 0.05)
    api.jobs.clear()
    api.when_read = lambda _: api.faults.extend([ApiException(status=403, reason="Forbidden")] * 100)
    with pytest.raises(ClusterError, match=r"403 Forbidden, though it has allowed"):
        run_train_jobs([job], SETTINGS)


@fault(
    "nodes of a training job need more memory than their limit",
    "the launcher makes the job again with `retries.memory_factor` times as much",
    "`retries.attempts`; not at all with a factor of 1",
    "the step's log",
    of="processes",
)
def test_nodes_that_lacked_memory_get_more_as_often_as_the_profile_says(
    job: Job, api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def lack(name: str) -> None:
        asked.append(api.jobs[name]["spec"]["trainer"]["resourcesPerNode"]["limits"]["memory"])
        leave_failure(job, Failure(rank=-1, at=1.0, cause="memory", text="node 0 needs more memory"))
        if len(asked) == 5:
            api.jobs[name]["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}

    api.when_read = lack
    more = {"memory_factor": 1.5, "attempts": 2, "limits": {"cpu": "2", "memory": "4Gi"}}
    settings = SETTINGS.model_copy(update=more)
    with pytest.raises(ClusterError, match="node 0 needs more memory"):
        run_train_jobs([job], settings)
    assert list(dict.fromkeys(asked)) == ["4Gi", "6144Mi", "9216Mi"]
    assert "need more memory than" in capsys.readouterr().err


@fault(
    "a training job that stopped because nobody followed it gets another launcher",
    "it makes the job again, from that checkpoint",
    "",
    "the step's log",
    of="processes",
)
def test_a_train_job_that_stopped_because_nobody_followed_it_is_made_again(
    job: Job, api: Api, of_another_run: str, tmp_path: Path
) -> None:
    api.jobs[of_another_run]["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    open_store(job.store).put(job.stopped_name, b"")
    finish = api.when_read

    def finish_the_new_one(name: str) -> None:
        if not open_store(job.store).exists(job.stopped_name):
            finish(name)

    api.when_read = finish_the_new_one
    run_train_jobs([job], SETTINGS)
    assert (job.out / "weights").read_bytes() == b"trained"
    assert open_store(job.store).exists(job.followed_name)


def test_a_cluster_without_trainer_is_told(job: Job, api: Api) -> None:
    api.faults = [ApiException(status=404), ApiException(status=404)]
    with pytest.raises(ClusterError, match="the cluster has no TrainJobs"):
        run_train_jobs([job], SETTINGS)


def test_a_train_job_of_the_same_name_and_another_job_is_left_alone(job: Job, api: Api) -> None:
    name = f"flowmap-{hashlib.sha256(job.checkpoints.encode()).hexdigest()[:20]}"
    api.jobs[name] = {"metadata": {"name": name, "labels": {"flowmap/job": "another"}}}
    with pytest.raises(ClusterError, match="is another job's of that name"):
        run_train_jobs([job], SETTINGS)
    assert list(api.jobs) == [name]


def fail(job: Job) -> None:
    """Node 1 failed by itself, node 0 because of it, and earlier by its own clock."""
    leave_failure(job, Failure(rank=0, at=1.0, cause="lost_peer", text="lost"))
    leave_failure(job, Failure(rank=1, at=2.0, cause="own", text="Traceback: boom"))


def leave_failure(job: Job, failure: Failure) -> None:
    name = f"{job.failures_prefix}/{failure.rank}.json"
    open_store(job.store).put(name, failure.model_dump_json().encode())


@fault(
    "a process of a training job fails by itself",
    "nobody",
    "",
    "the step's log has the message or traceback of the process that brought the others down",
    of="processes",
)
def test_the_failure_told_is_the_one_that_brought_the_others_down(job: Job, api: Api) -> None:
    api.when_read = lambda name: fail(job)
    with pytest.raises(InvariantError, match="m failed in process 1: Traceback: boom"):
        run_train_jobs([job], SETTINGS)
    assert len(api.deleted) == 1


def test_a_train_job_that_somebody_deleted_is_told(job: Job, api: Api) -> None:
    api.when_read = api.jobs.__delitem__
    with pytest.raises(ClusterError, match="was deleted by somebody while it ran"):
        run_train_jobs([job], SETTINGS)


def test_a_train_job_that_another_run_saw_the_end_of_first_has_its_results_all_the_same(
    job: Job, api: Api, tmp_path: Path
) -> None:
    def end(name: str) -> None:
        leave_results(job, tmp_path / "result")
        del api.jobs[name]

    api.when_read = end
    run_train_jobs([job], SETTINGS)
    assert (job.out / "weights").read_bytes() == b"trained"


@pytest.fixture
def of_another_run(job: Job, api: Api) -> str:
    """The name of a TrainJob for the same work, which another run made."""
    body = train_job(job, SETTINGS, [])
    body["metadata"]["labels"]["flowmap/run"] = "another"
    name: str = body["metadata"]["name"]
    api.jobs[name] = body
    return name


@fault(
    "the launcher of a training job is lost",
    "Kubeflow starts it again, and it goes on with the same TrainJob",
    "`retries.attempts`",
    "the step's log",
    of="processes",
)
def test_a_train_job_of_another_run_is_followed_and_left_to_it(
    job: Job, api: Api, of_another_run: str
) -> None:
    run_train_jobs([job], SETTINGS)
    assert (job.out / "weights").read_bytes() == b"trained"
    assert list(api.jobs) == [of_another_run]


def test_a_train_job_is_made_again_when_another_run_ended_it(
    job: Job, api: Api, of_another_run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cancelled: list[str] = []
    finish = api.when_read

    def cancel_first(name: str) -> None:
        if len(cancelled) < 2:  # the second time it is followed already
            cancelled.append(name)
            if len(cancelled) == 2:
                del api.jobs[name]
        else:
            finish(name)

    api.when_read = cancel_first
    run_train_jobs([job], SETTINGS)
    assert (job.out / "weights").read_bytes() == b"trained"
    assert "deleted by the run that had made it; it is made again" in capsys.readouterr().err
    assert api.deleted == [of_another_run]  # that of the same name which it made itself


@fault(
    "a node of a training job is lost",
    "Kubeflow Trainer starts all nodes again, from the newest checkpoint",
    "`training.maxRestarts` of the chart",
    "the step's log",
    of="processes",
)
def test_what_a_cluster_restarts_for_is_no_end_until_it_says_failed(job: Job, api: Api) -> None:
    looks = []

    def lose(name: str) -> None:
        looks.append(name)
        leave_failure(job, Failure(rank=-1, at=1.0, cause="silent", text="node 1 ended without a word"))
        leave_failure(job, Failure(rank=0, at=0.0, cause="lost_peer", text="Traceback: gloo"))
        if len(looks) == 5:
            api.jobs[name]["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}

    api.when_read = lose
    with pytest.raises(ClusterError, match=r"failed\nnode 1 ended without a word\nnone of its pods is left"):
        run_train_jobs([job], SETTINGS)
    assert len(looks) == 5


def test_a_cluster_that_makes_no_pods_is_told(
    job: Job, api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    finish = api.when_read

    def refuse(name: str) -> None:
        of_job = SimpleNamespace(name=f"{name}-node-0")
        message = (
            f'Error creating: pods "{name}-node-0-{len(api.events)}" is forbidden: exceeded quota: gpus'
        )
        api.events.append(SimpleNamespace(involved_object=of_job, message=message))
        finish(name)

    api.when_read = refuse
    run_train_jobs([job], SETTINGS)
    assert capsys.readouterr().err.count("its pods are not made: exceeded quota: gpus") == 1


def test_time_without_machines_is_no_run_time(
    job: Job, api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The clock stands at a thousand seconds a look: with one of four looks' time it would be over."""
    now_s = iter(range(0, 1_000_000, 1000))
    following = module._Following(
        Cluster("ml", api, api), job, SETTINGS.model_copy(update={"deadline_s": 1500})
    )
    monkeypatch.setattr("flowmap.launching.train_job.time.monotonic", lambda: next(now_s))
    monkeypatch.setattr(following.pods, "are_running", lambda nodes: True)
    monkeypatch.setattr(following.pods, "nodes", lambda: ["a"])
    waiting = iter(["no room", None, "no room", "no room", "no room", None])
    monkeypatch.setattr(following.pods, "waiting_for_room", lambda: next(waiting))
    for _ in range(5):
        following._check_times(suspended=False)
    with pytest.raises(ClusterError, match=r"longer than the profile's trainjob\.deadline_s, 1500 s"):
        following._check_times(suspended=False)
    assert capsys.readouterr().err.count("no room") == 2


def test_nodes_that_can_not_share_the_processes_are_refused(job: Job, api: Api) -> None:
    with pytest.raises(ConfigError, match="which does not divide"):
        run_train_jobs([job.model_copy(update={"num_processes": 3})], SETTINGS)
    assert not api.jobs


@pytest.mark.parametrize(("cpus", "threads"), [(1, "1"), (8, "4"), (64, "8")])
def test_the_number_of_threads_never_comes_to_decide_the_bytes(
    job: Job, api: Api, cpus: int, threads: str
) -> None:
    body = train_job(job, SETTINGS.model_copy(update={"nodes": 1, "cpus": cpus}), [])
    variables = {each["name"]: each.get("value", "") for each in body["spec"]["trainer"]["env"]}
    assert variables["OMP_NUM_THREADS"] == threads
