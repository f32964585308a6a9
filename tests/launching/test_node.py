"""A node's program as its pod runs it, with a worker of a few lines: results, failures, and the log that is
kept."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flowmap.artifacts.store import ObjectStore, open_store
from flowmap.launching.job import Failure, Job
from flowmap.launching.node_logs import kept_log
from flowmap.lineage.record import run_records, run_summaries
from flowmap.settings import environment

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
"""


@pytest.fixture
def node(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts node 1 of two, or node 0 of one, of a job that does what it is told."""
    (tmp_path / "a_worker.py").write_text(_WORKER)

    def start(do: str, *, number: int = 1, run: bool = True) -> subprocess.Popen[str]:
        job = _job(tmp_path, do)
        told = {"FLOWMAP_RUN_ID": "run-7", "FLOWMAP_STEP": "grpo_finetuning"} if run else {}
        variables = {
            **os.environ,
            **told,
            environment.JOB: job.model_dump_json(),
            "PET_NODE_RANK": str(number),
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
