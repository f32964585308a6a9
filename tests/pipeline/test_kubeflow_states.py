"""Kubeflow's states that a real one comes to only by accident: retried ends, interrupted replacements."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.client import ApiException

from flowmap.kubernetes.api import Cluster, ClusterError
from flowmap.settings import load_config
from flowmap_pipelines import doctor_cluster
from flowmap_pipelines.kubeflow import scheduling, status, submitting
from flowmap_pipelines.kubeflow.following import why_failed
from flowmap_pipelines.kubeflow.logs import _Printed
from flowmap_pipelines.kubeflow.refusals import ConflictError, KubeflowError, there_or_made
from flowmap_pipelines.kubeflow.resources import Run, Schedule, run_of
from flowmap_pipelines.kubeflow.status import troubles_of, workflow_words
from flowmap_pipelines.kubeflow.submitting import submit, submit_on_change
from flowmap_pipelines.profile import load_profile
from tests.faults import fault
from tests.pipeline.test_compiled import IMAGES


def told(*history: str) -> Any:
    """A run as the server tells it."""
    return SimpleNamespace(
        run_id="r",
        display_name="digits",
        description="",
        state=history[-1],
        state_history=[SimpleNamespace(state=state) for state in history],
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        finished_at=None,
        recurring_run_id=None,
        pipeline_version_reference=None,
        runtime_config=None,
        run_details=None,
    )


@pytest.mark.parametrize(
    ("history", "state"),
    [
        (("PENDING", "RUNNING", "FAILED"), "failed"),
        (("PENDING", "RUNNING", "CANCELING", "FAILED"), "cancelled"),
        (("RUNNING", "CANCELING", "RUNNING", "FAILED", "FAILED"), "cancelled"),
        (("RUNNING", "CANCELING", "FAILED", "RUNNING", "FAILED"), "failed"),
        (("RUNNING", "FAILED", "RUNNING", "CANCELING", "FAILED"), "cancelled"),
        (("RUNNING", "CANCELING", "FAILED", "RUNNING", "SUCCEEDED"), "done"),
    ],
)
def test_a_run_is_cancelled_by_what_happened_since_it_was_last_retried(
    history: tuple[str, ...], state: str
) -> None:
    assert run_of(told(*history)).state == state


class Runs:
    """Kubeflow's runs of one model, whose pipeline's version is `version`."""

    def __init__(self) -> None:
        self.there: list[Run] = []
        self.did: list[str] = []
        self.version = "1"
        self.claims: set[str] = set()
        self.lock = Lock()

    def claim(self, _: str, claim: str, file: Path) -> bool:
        assert file.is_file()
        with self.lock:
            is_first = claim not in self.claims
            self.claims.add(claim)
        return is_first

    def is_claimed(self, _: str, claim: str) -> bool:
        return claim in self.claims

    def give_up_claim(self, _: str, claim: str) -> None:
        self.claims.remove(claim)

    def upload(self, *_: Any) -> tuple[str, str]:
        return "pipeline", self.version

    def runs(self, name: str | None = None) -> list[Run]:
        return [run for run in reversed(self.there) if name in (None, run.name)]

    def start(self, name: str, _: str, version: tuple[str, str], settings: str, account: str | None) -> Run:
        number = str(len(self.there))
        template, created = run_of(told("RUNNING")), datetime(2026, 1, 1 + len(self.there), tzinfo=UTC)
        run = replace(
            template, run_id=number, name=name, created=created, version=version[1], settings=settings
        )
        self.there.append(run)
        return run

    def retry(self, number: str) -> None:
        self.did.append(f"retried {number}")

    def cancel(self, number: str) -> None:
        self.did.append(f"cancelled {number}")

    def end(self, number: int, state: str) -> None:
        self.there[number] = replace(self.there[number], state=state)


def on_change(runs: Any, updates: int) -> tuple[str, bool]:
    config = load_config(Path("examples/digits.yaml"), [f"grpo_finetuning.rollouts={updates}"])
    run, is_new = submit_on_change(runs, config, load_profile("cluster-cpu"), IMAGES, account=None)
    return run.run_id, is_new


@pytest.mark.usefixtures("quick")
def test_a_change_is_told_from_the_last_run_of_its_kind() -> None:
    """Going back to what was is a change too: another model has been promoted since."""
    runs = Runs()
    assert [on_change(runs, updates) for updates in (10, 10, 20, 10, 10)] == [
        ("0", True),
        ("0", False),
        ("1", True),
        ("2", True),
        ("2", False),
    ]
    assert not runs.did


@pytest.mark.usefixtures("quick")
def test_what_failed_is_run_again_as_it_is_unless_the_code_has_changed() -> None:
    runs = Runs()
    on_change(runs, 10)
    runs.end(0, "failed")
    assert on_change(runs, 10) == ("0", False)
    assert runs.did == ["retried 0"]
    runs.version = "2"
    assert on_change(runs, 10) == ("1", True)
    runs.end(1, "done")
    runs.version = "3"
    assert on_change(runs, 10) == ("1", False)
    assert runs.did == ["retried 0"]


class SlowRuns(Runs):
    """A run takes a moment to appear, all in the same second, and the newer ones have the smaller ids."""

    def start(self, name: str, _: str, version: tuple[str, str], settings: str, account: str | None) -> Run:
        time.sleep(0.2)
        with self.lock:
            run = replace(run_of(told("RUNNING")), name=name, version=version[1], settings=settings)
            self.there.append(replace(run, run_id=f"{99 - len(self.there)}"))
            return self.there[-1]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling takes seconds and counts for nothing here; nor does waiting."""
    monkeypatch.setattr(submitting, "compile_pipeline", lambda *words: words[-1].write_text("compiled"))
    monkeypatch.setattr(submitting, "_PAUSE_S", 0.01)


def keyed(runs: Any, key: str = "k") -> tuple[str, bool]:
    config = load_config(Path("examples/digits.yaml"))
    run, is_new = submit(runs, config, load_profile("cluster-cpu"), IMAGES, account=None, key=key)
    return run.run_id, is_new


@fault(
    "several `submit --idempotency-key K`, or `--on-change`, at the same second",
    "one starts the run: who made the claim, a version of the pipeline whose name can be given "
    "once. The others wait for it and return it",
    of="rivals",
)
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("ask", [keyed, lambda runs: on_change(runs, 10)])
def test_of_many_that_ask_at_the_same_second_one_starts_the_run(
    ask: Callable[[Any], tuple[str, bool]],
) -> None:
    for _ in range(5):
        runs = SlowRuns()
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(ask, [runs] * 6))
        assert len(runs.there) == 1
        assert not runs.did
        assert sorted(is_new for _, is_new in answers) == [False] * 5 + [True]
        assert {run_id for run_id, _ in answers} == {"99"}


@fault(
    "who claimed a run for an idempotency key is lost before it began",
    "after a minute the next one claims it",
    of="rivals",
)
@pytest.mark.usefixtures("quick")
def test_who_was_lost_before_the_run_began_is_not_waited_for_for_ever() -> None:
    runs = Runs()
    runs.claims.add("key-k.1")
    assert keyed(runs) == ("0", True)
    assert keyed(runs) == ("0", False)


@pytest.mark.usefixtures("quick")
def test_a_run_that_came_too_late_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs()
    start = runs.start

    def after_another(*words: Any) -> Run:
        runs.claims.add("key-k.2")
        start(*words)
        return start(*words)

    monkeypatch.setattr(runs, "start", after_another)
    assert keyed(runs) == ("0", False)
    assert runs.did == ["cancelled 1"]


@pytest.mark.usefixtures("quick")
def test_a_start_that_is_refused_can_be_tried_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs()
    with monkeypatch.context() as patch:

        def refuse(*_: Any) -> Run:
            raise KubeflowError("answers 400")

        patch.setattr(runs, "start", refuse)
        with pytest.raises(KubeflowError):
            keyed(runs)
    assert keyed(runs) == ("0", True)


@fault(
    "several first submissions make the experiment and the pipeline",
    "one makes each, the others find it",
    of="rivals",
)
def test_what_another_makes_at_the_same_moment_is_found() -> None:
    """The first submissions to a Kubeflow make its experiment and the model's pipeline."""
    found = iter([None, "theirs"])

    def conflict() -> str:
        raise ConflictError("answers 409")

    assert there_or_made(lambda: next(found), conflict) == "theirs"
    with pytest.raises(ConflictError):
        there_or_made(lambda: None, conflict)


class Schedules:
    """Kubeflow's schedules of one model, and no run."""

    def __init__(self, **enabled: bool) -> None:
        self.there = {
            name: Schedule(name, "digits", "", "", on, datetime(2026, 1, day, tzinfo=UTC), "")
            for day, (name, on) in enumerate(enabled.items(), start=1)
        }

    def schedules(self) -> list[Schedule]:
        return list(reversed(self.there.values()))

    def runs(self) -> list[Run]:
        return []

    def enable(self, name: str, *, on: bool) -> None:
        others = {other for other, each in self.there.items() if each.is_enabled} - {name}
        assert not (on and others), "two would start runs at once"
        self.there[name] = replace(self.there[name], is_enabled=on)

    def delete_schedule(self, name: str) -> None:
        del self.there[name]

    def on(self) -> dict[str, bool]:
        return {name: each.is_enabled for name, each in self.there.items()}


def test_a_replacement_that_was_interrupted_leaves_the_schedule_before_it() -> None:
    server: Any = Schedules(old=True, new=False)
    assert [each.schedule_id for each in scheduling.current(server)] == ["old"]
    scheduling.pause(server, "digits")
    assert server.on() == {"old": False, "new": False}
    scheduling.resume(server, "digits")
    assert server.on() == {"new": True}


def test_of_two_that_are_on_one_is_left_on() -> None:
    server: Any = Schedules(old=True, new=True)
    scheduling.resume(server, "digits")
    assert server.on() == {"old": False, "new": True}


def pod(name: str, phase: str, reason: str) -> Any:
    waiting = SimpleNamespace(
        waiting=SimpleNamespace(reason=reason, message="no such image"), terminated=None
    )
    statuses = [SimpleNamespace(state=waiting)] if reason else []
    found = {"phase": phase, "container_statuses": statuses, "init_container_statuses": [], "conditions": []}
    return SimpleNamespace(metadata=SimpleNamespace(name=name), status=SimpleNamespace(**found))


@fault(
    "a pod can't start",
    "`flowmap status` and `submit --wait`, with the reason",
    of="ends",
)
def test_a_pod_that_is_stuck_is_not_hidden_by_those_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And who may not look at training jobs still sees the other pods."""
    monkeypatch.setattr(status, "connect", lambda *_, **__: Cluster("ml", None, None))
    monkeypatch.setattr(status, "pods_of", lambda *_: {"data_prep": pod("d", "Pending", "ErrImagePull")})
    nodes = [pod("0", "Pending", "ErrImagePull"), pod("1", "Pending", "")]
    monkeypatch.setattr(status, "training_pods", lambda *_: nodes)
    run = run_of(told("RUNNING"))
    assert set(troubles_of(run, None) or {}) == {"data_prep", "grpo_finetuning"}

    def refuse(*_: Any) -> None:
        raise ClusterError("403")

    monkeypatch.setattr(status, "training_pods", refuse)
    assert set(troubles_of(run, None) or {}) == {"data_prep"}


def test_versions_that_were_not_tried_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        doctor_cluster,
        "Kubeflow",
        lambda *_: SimpleNamespace(version="2.9.0", host="http://k", is_multi_user=True),
    )
    (found,) = doctor_cluster._kubeflow("http://k", None, Cluster("ml", None, None))
    assert (found.ok, found.told) == (None, "2.9.0 at http://k; flowmap was tried with 2.17 only")
    found = doctor_cluster._trainer(["v2"])
    assert not found.ok
    assert (
        "serves trainer.kubeflow.org/v2; flowmap speaks v1alpha1: install Kubeflow Trainer 2.0" in found.told
    )


def test_a_log_is_printed_once_and_begun_anew_with_another_pod(capsys: pytest.CaptureFixture[str]) -> None:
    printed = _Printed()
    for log in ('{"log": "a"}\n', '{"log": "a"}\nb\n', "", "a\nb\nc\n", "x\n"):
        printed.print(log)
    assert capsys.readouterr().out == '{"log": "a"}\nb\nc\nx\n'


@pytest.mark.parametrize(
    ("answer", "ok", "told"),
    [
        (None, True, "ml, where this Kubeflow, which serves one user, runs every pod"),
        (404, False, "and ml is not that: there is no service ml-pipeline in it. Install flowmap's chart"),
        (403, None, "ml must be the namespace that it is in itself"),
    ],
)
def test_a_chart_outside_the_namespace_of_a_kubeflow_for_one_is_named(
    monkeypatch: pytest.MonkeyPatch, answer: int | None, ok: bool | None, told: str
) -> None:
    def read_namespaced_service(name: str, namespace: str, **_: Any) -> None:
        assert (name, namespace) == ("ml-pipeline", "ml")
        if answer is not None:
            raise ApiException(status=answer, reason="no")

    core = SimpleNamespace(read_namespaced_service=read_namespaced_service)
    server = SimpleNamespace(version="2.17.0", host="http://k", is_multi_user=False)
    monkeypatch.setattr(doctor_cluster, "Kubeflow", lambda *_: server)
    _, found = doctor_cluster._kubeflow("http://k", None, Cluster("ml", core, None, patience_s=0))
    assert found.ok is ok
    assert told in found.told


@fault(
    "no pod of a run can be made, as where its account is missing",
    "`submit --wait` and `flowmap status`: the workflow's own message and events",
    of="ends",
)
def test_where_no_step_failed_the_cluster_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the account that pods are to run as is not there."""
    forbidden = 'pods "x" is forbidden: error looking up service account kubeflow/flowmap'
    workflow = {
        "metadata": {"name": "flowmap-x", "namespace": "kubeflow"},
        "status": {"message": forbidden, "nodes": {"a": {"phase": "Error", "message": forbidden}}},
    }
    custom = SimpleNamespace(list_cluster_custom_object=lambda *_, **__: {"items": [workflow]})
    events = [SimpleNamespace(reason="WorkflowFailed", message="no account")]
    core = SimpleNamespace(list_namespaced_event=lambda *_, **__: SimpleNamespace(items=events))
    monkeypatch.setattr(status, "connect", lambda *_, **__: Cluster("ml", core, custom))
    run = run_of(told("RUNNING", "FAILED"))
    words = why_failed(None, run, lambda: workflow_words(run, None))  # type: ignore[arg-type]
    assert words.splitlines() == [forbidden, "WorkflowFailed: no account"]

    def refuse(*_: Any, **__: Any) -> None:
        raise ClusterError("no Kubernetes")

    monkeypatch.setattr(status, "connect", refuse)
    assert "flowmap doctor --cluster" in why_failed(
        None,  # type: ignore[arg-type]
        run,
        lambda: workflow_words(run, None),
    )
