"""The tiny pipeline on a real Kubeflow Pipelines, by the command line alone."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from flowmap.artifacts.store import open_store
from flowmap.lineage.record import run_records, summary_name
from flowmap.settings import load_config
from flowmap_pipelines.profile import STEPS
from tests.faults import fault
from tests.kubeflow.conftest import Flowmap
from tests.pipeline.runs import run

KEY = f"first-{time.time_ns()}"
# No distance to keep from the base map: the reward is hacked, and the judge sees it.
HACKED = [
    "name=hacked",
    *(
        f"grpo_finetuning.{each}"
        for each in (
            "rewards=[{kind: preference, saturating: false}]",
            "kl_weight=0",
            "rollouts=100",
            "ema=0.5",
        )
    ),
]


@pytest.fixture(scope="module")
def first(flowmap: Flowmap) -> str:
    """The id of a run that promoted a model."""
    told = flowmap.submit("--wait", "--idempotency-key", KEY)
    assert told["outcome"] == "promoted"
    return str(told["run"])


def test_a_run_comes_to_what_a_run_on_this_machine_comes_to(
    first: str, store_url: str, tmp_path: Path
) -> None:
    records = run_records(open_store(store_url), first)
    here = run(tmp_path / "root")
    assert {step: record.output for step, record in records.items()} == here.digests()


def summary(store_url: str, run_id: str) -> dict[str, Any]:
    """What the exit handler left, which runs after everything else."""
    store, until = open_store(store_url), time.monotonic() + 120
    while not store.exists(summary_name(run_id)):
        assert time.monotonic() < until
        time.sleep(2)
    found: dict[str, Any] = json.loads(store.get(summary_name(run_id)))
    return found


def test_the_exit_handler_leaves_a_summary(flowmap: Flowmap, first: str, store_url: str) -> None:
    told = summary(store_url, first)
    # Version 1 is the base.
    assert (told["outcome"], told["version"], set(told["steps"])) == ("published", 2, set(STEPS))
    assert 'flowmap_runs_total{model="tiny",outcome="published"} 1.0' in flowmap("metrics")


def test_status_tells_every_step(flowmap: Flowmap, first: str) -> None:
    told = json.loads(flowmap("status", first, "--json"))
    assert told["outcome"] == "promoted"
    assert {step for step, state in told["steps"].items() if state["state"] == "done"} == set(STEPS)
    assert first in flowmap("status")


def test_logs_are_there_with_and_without_the_pods(flowmap: Flowmap, first: str) -> None:
    assert '"log": "data_prep: done in' in flowmap("logs", first, "data_prep")
    done = flowmap.try_("logs", first, "grpo-finetuning", environment={"KUBECONFIG": "/none"})
    assert "grpo_finetuning: done in" in done.stdout


def test_the_same_key_is_the_same_run(flowmap: Flowmap, first: str) -> None:
    assert flowmap.submit("--idempotency-key", KEY)["run"] == first
    refused = flowmap.try_(
        *("submit", "tiny.yaml", "--profile", "local", "--idempotency-key", KEY, "--set"),
        "grpo_finetuning.rollouts=10",
    )
    assert refused.returncode == 2
    assert "was used for run" in refused.stderr


def test_a_second_run_reuses_every_step(flowmap: Flowmap, first: str, store_url: str) -> None:
    again = flowmap.submit("--wait")
    assert again["outcome"] == "promoted"
    assert again["run"] != first
    records = run_records(open_store(store_url), again["run"])
    assert {step for step, record in records.items() if record.reused} == set(STEPS) - {"registry_push"}


def test_a_rejected_candidate_ends_with_status_3(flowmap: Flowmap, first: str) -> None:
    told = flowmap.submit("--wait", *(word for each in HACKED for word in ("--set", each)), status=3)
    assert told["outcome"] == "rejected"


def test_a_cancelled_run_is_no_failed_one(flowmap: Flowmap, store_url: str) -> None:
    run_id = flowmap.submit("--set", "base_training.updates=100000")["run"]
    until = time.monotonic() + 300
    while (
        json.loads(flowmap("status", run_id, "--json"))["steps"].get("base_training", {}).get("state")
        != "running"
    ):
        assert time.monotonic() < until
        time.sleep(3)
    assert "ends within seconds" in flowmap("cancel", run_id)
    while (told := json.loads(flowmap("status", run_id, "--json")))["outcome"] is None:
        assert time.monotonic() < until
        time.sleep(3)
    assert told["outcome"] == "cancelled"
    assert summary(store_url, run_id)["outcome"] == "cancelled"


@fault(
    "a step fails by itself",
    "nobody",
    "",
    "the webhook; `submit --wait` prints its message",
    of="processes",
)
def test_a_failed_run_says_why_and_is_retried_from_there(
    flowmap: Flowmap, first: str, store_url: str
) -> None:
    """The failure: a result in the store that was changed.

    Retrying after it was mended does the failed step alone.
    """
    config = load_config(flowmap.folder / "tiny.yaml")
    assert config.name == "tiny"
    store = open_store(store_url)
    record = run_records(store, first)["reward_training"]
    damaged = f"artifacts/{record.output}/manifest.json"
    kept = store.get(f"steps/{record.step_digest}.json")
    store.put(f"steps/{record.step_digest}.json", b"{}")
    done = flowmap.try_("submit", "tiny.yaml", "--profile", "local", "--wait", "--json")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "reward_training failed: steps/" in done.stderr
    assert store.exists(damaged)
    store.put(f"steps/{record.step_digest}.json", kept)
    run_id = json.loads(done.stdout)["run"]
    assert json.loads(flowmap("retry", run_id, "--wait", "--json"))["outcome"] == "promoted"
