"""A node's program as its pod runs it, with a worker of a few lines: results, failures, and the log that is
kept."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flowmap.artifacts.store import ObjectStore, open_store
from flowmap.launching import followed
from flowmap.launching import node as node_module
from flowmap.launching.followed import following
from flowmap.launching.job import Failure, Job
from flowmap.launching.node_logs import kept_log
from flowmap.launching.torchrun import run_in_place
from flowmap.launching.worker import has_lost_peer
from flowmap.lineage.record import run_records, run_summaries
from flowmap.machine import take_machine
from flowmap.settings import environment
from tests.faults import fault

_WORKER = """
import time
from flowmap.errors import InvariantError
from flowmap.training.work import Work

def train(work: Work) -> None:
    print("the worker speaks", flush=True)
    match work.name:
        case "write":
            (work.out / "weights").write_text("trained")
        case "refuse":
            raise InvariantError("the loss is not a number")
        case "sleep":
            time.sleep(600)
        case "until told":
            while not work.is_to_stop():
                time.sleep(0.1)
            print("saved", flush=True)
"""


@pytest.fixture
def node(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts node 1 of two, or node 0 of one, of a job that does what it is told."""
    (tmp_path / "a_worker.py").write_text(_WORKER)

    def start(
        do: str, *, number: int = 1, run: bool = True, unfollowed_s: float = 600
    ) -> subprocess.Popen[str]:
        job = _job(tmp_path, do)
        told = {"FLOWMAP_RUN_ID": "run-7", "FLOWMAP_STEP": "grpo_finetuning"} if run else {}
        variables = {
            **os.environ,
            **told,
            environment.JOB: job.model_dump_json(),
            "PET_NODE_RANK": str(number),
            environment.UNFOLLOWED: str(unfollowed_s),
            "PYTHONPATH": f"{tmp_path}:{':'.join(sys.path)}",
        }
        command = [sys.executable, "-m", "flowmap.launching.node"]
        return subprocess.Popen(
            command, env=variables, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    return start


def _job(folder: Path, do: str) -> Job:
    return Job(
        worker="a_worker",
        section="{}",
        name=do,
        inputs={},
        out=Path("out"),
        scratch=Path("scratch"),
        store=str(folder / "store"),
        checkpoints="checkpoints/grpo_finetuning/d",
    )


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(str(tmp_path / "store"))


def test_node_0_leaves_the_results_and_every_node_its_log(
    node: Callable[..., subprocess.Popen[str]], store: ObjectStore
) -> None:
    with node("write", number=0) as process:
        shown, _ = process.communicate(timeout=120)
    assert process.returncode == 0, shown
    assert "the worker speaks" in shown
    assert store.get("checkpoints/grpo_finetuning/d/result/weights") == b"trained"
    assert kept_log(store, "run-7", "grpo_finetuning", 0) == shown
    assert kept_log(store, "run-7", "grpo_finetuning", 1) == ""


def test_what_trained_says_what_it_computed_with_and_that_is_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the process that waits for it, which may have no GPU and computes in one thread."""
    (tmp_path / "a_worker.py").write_text(
        "import torch\n\n\ndef train(work):\n    torch.set_num_threads(3)\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{':'.join(sys.path)}")
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    out.mkdir()
    for num in (1, 2):
        run_in_place([_job(tmp_path, "a").model_copy(update=told(out, scratch, num))])
        assert take_machine(out)["threads"] == 3
        assert not list(out.iterdir())
    assert take_machine(out) == {}


def told(out: Path, scratch: Path, num: int) -> dict[str, object]:
    return {"out": out, "scratch": scratch, "num_processes": num}


def test_a_node_that_fails_says_why_and_a_second_time_its_log_is_kept_after_the_first(
    node: Callable[..., subprocess.Popen[str]], store: ObjectStore
) -> None:
    for times in (1, 2):
        with node("refuse") as process:
            process.communicate(timeout=120)
        assert process.returncode == 1
        (failure,) = store.names("checkpoints/grpo_finetuning/d/failures")
        assert Failure.model_validate_json(store.get(failure)).text == "the loss is not a number"
        assert kept_log(store, "run-7", "grpo_finetuning", 1).count("the worker speaks") == times


def test_a_node_that_is_taken_away_ends_at_once_and_its_log_is_kept(
    node: Callable[..., subprocess.Popen[str]], store: ObjectStore
) -> None:
    with node("sleep") as process:
        assert process.stdout is not None
        while "the worker speaks" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)
    assert process.returncode == 143
    assert "the worker speaks" in kept_log(store, "run-7", "grpo_finetuning", 1)
    assert not list(store.names("checkpoints/grpo_finetuning/d/failures"))


def test_the_runs_records_and_summaries_are_not_mistaken_for_logs(
    node: Callable[..., subprocess.Popen[str]], store: ObjectStore
) -> None:
    with node("write") as process:
        process.communicate(timeout=120)
    assert kept_log(store, "run-7", "grpo_finetuning", 1)
    assert run_records(store, "run-7") == {}
    assert list(run_summaries(store)) == []


def test_outside_a_run_no_log_is_kept(
    node: Callable[..., subprocess.Popen[str]], store: ObjectStore
) -> None:
    with node("write", run=False) as process:
        shown, _ = process.communicate(timeout=120)
    assert "the worker speaks" in shown
    assert not list(store.names("runs"))


@fault(
    "nobody follows a training job any more",
    "the nodes: they save and end after ten minutes without a sign (a mark in the store that the "
    "launcher renews twice a minute)",
    "",
    "the nodes' logs, kept in the store",
    of="processes",
)
def test_training_that_nobody_follows_any_more_saves_and_ends(
    node: Callable[..., subprocess.Popen[str]], store: ObjectStore, tmp_path: Path
) -> None:
    job = _job(tmp_path, "until told")
    with following(store, [job]), node("until told", number=0, unfollowed_s=3) as process:
        pass_s = time.monotonic() + 3
        while time.monotonic() < pass_s:  # its mark is renewed, as its launcher does it
            store.put(job.followed_name, str(time.monotonic()).encode())
            time.sleep(0.2)
        assert process.poll() is None
        shown, _ = process.communicate(timeout=120)  # from here on it stands still
    assert process.returncode == 0, shown
    assert "nobody has followed this training for 3 s: it saves and ends" in shown
    assert shown.index("saves and ends") < shown.index("saved")
    assert store.exists(job.stopped_name)
    assert not list(store.names(job.result_prefix))


def test_a_mark_is_renewed_while_a_job_is_followed(store: ObjectStore, tmp_path: Path) -> None:
    job = _job(tmp_path, "x")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(followed, "_EVERY_S", 0.05)
        with following(store, [job]):
            seen = set()
            for _ in range(100):
                time.sleep(0.02)
                with contextlib.suppress(KeyError):
                    seen.add(store.get(job.followed_name))
                if len(seen) == 3:
                    break
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("told", "lost"),
    [
        ("[../gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.1]:2", True),
        ("NCCL error: ncclRemoteError: A call failed possibly due to a network error", True),
        ("NCCL error: unhandled cuda error, CUDA out of memory", False),
        ("Duplicate GPU detected: rank 0 and rank 1 both on CUDA device, ncclInvalidUsage", False),
        ("the nccl backend is not available", False),
    ],
)
def test_a_lost_peer_is_told_from_a_fault_of_ones_own(told: str, *, lost: bool) -> None:
    assert has_lost_peer(RuntimeError(told)) is lost


def test_memory_that_did_not_suffice_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = tmp_path / "memory.events"
    monkeypatch.setattr(node_module, "_MEMORY_EVENTS", events)
    assert node_module._silent(1).cause == "silent"
    events.write_text("low 0\nhigh 0\nmax 12\noom 1\noom_kill 2\n")
    failure = node_module._silent(1)
    assert (failure.cause, failure.text) == (
        "memory",
        "node 1 needs more memory than its limit: 2 processes were ended for that",
    )
