"""A run's summary, `runs/<run id>/summary.json`: what the run came to, from the records its steps left.

The exit handler writes it at the run's end. Kubeflow runs that handler once, so after `flowmap retry` the
step behind the gate writes the summary anew, and tells everybody again. It holds nothing but names, states,
times and digests.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import Any

from flowmap.artifacts.store import ObjectStore, open_store, read_there
from flowmap.artifacts.transfer import artifact_prefix
from flowmap.lineage.record import StepRecord, run_records, summary_name
from flowmap.progress import say
from flowmap.reporting.mlflow_run import track
from flowmap.reporting.webhook import notify
from flowmap.settings import RunConfig, environment


def summary_of(store: ObjectStore, name: str, run_id: str, state: str) -> dict[str, Any]:
    """What a run came to; `state` is done, failed or cancelled."""
    records = run_records(store, run_id)
    return {
        **_beginning(name, run_id, state),
        "steps": {
            step: {
                "artifact": record.output,
                "reused": record.reused,
                "wall_s": record.wall_s,
                "gpu_s": round(record.wall_s * record.gpus, 2),
            }
            for step, record in records.items()
        },
        **(_outcome(store, records) if state == "done" else {"outcome": state}),
    }


def summary_without_store(name: str, run_id: str, state: str) -> dict[str, Any]:
    """All that can be said while the store is away."""
    return {**_beginning(name, run_id, state), "steps": {}, "outcome": state}


def write_summary(store: ObjectStore, summary: dict[str, Any]) -> None:
    data = json.dumps(summary, indent=1, sort_keys=True).encode()
    store.put(summary_name(summary["run_id"]), data)


def told(summary: dict[str, Any]) -> str:
    """A summary in one line for people."""
    model = f"{summary['name']} {summary['outcome']}"
    if summary.get("version"):
        model += f" as {summary['name']}@{summary['version']}"
    took = {
        step: "reused" if done["reused"] else f"{done['wall_s']:.0f} s"
        for step, done in summary["steps"].items()
    }
    steps = ", ".join(f"{step} {how}" for step, how in took.items()) or "no step ended"
    return f"flowmap: {model}; run {summary['run_id']}; {steps}"


def end_again(settings: str) -> None:
    """Tell what a run came to that had ended before, as failed or cancelled, and was retried.

    Called by the step that ends a run; does nothing in a run that ends for the first time, or on this
    machine.
    """
    run_id = os.environ[environment.RUN_ID]
    store, config = open_store(os.environ[environment.STORE]), RunConfig.model_validate_json(settings)
    if not store.exists(summary_name(run_id)):
        return
    summary = summary_of(store, config.name, run_id, "done")
    write_summary(store, summary)
    text = told(summary)
    say(text)
    notify(text)
    track(store, config, run_id, summary["outcome"])


def _beginning(name: str, run_id: str, state: str) -> dict[str, Any]:
    ended = datetime.now(UTC).isoformat(timespec="seconds")
    return {"run_id": run_id, "name": name, "state": state, "ended_at": ended}


def _outcome(store: ObjectStore, records: dict[str, StepRecord]) -> dict[str, Any]:
    pushed = records.get("registry_push")
    if pushed is None:
        return {"outcome": "ended without a verdict"}
    found: dict[str, Any] = json.loads(read_there(store, f"{artifact_prefix(pushed.output)}/outcome.json"))
    return {name: found[name] for name in ("outcome", "version", "alias")}
