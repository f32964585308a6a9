"""The exit handler: the run's summary in the store, its training jobs ended, MLflow told, and a
notification.

The summary is `runs/<run id>/summary.json`. The notification goes to the webhook in FLOWMAP_WEBHOOK, where
there is one, as the JSON that Slack and many others take: `{"text": ...}`. Neither holds anything but names,
states and digests.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from datetime import UTC, datetime
from typing import Any

from flowmap.artifacts.store import ObjectStore
from flowmap.artifacts.transfer import artifact_prefix
from flowmap.kubernetes.api import ClusterError, connect
from flowmap.kubernetes.leftovers import delete_left, train_jobs_of
from flowmap.lineage.record import StepRecord, run_records, summary_name
from flowmap.progress import say
from flowmap.run_end.mlflow_run import track
from flowmap.settings import RunConfig, environment
from flowmap.steps.frame import store_from_environment

_TIMEOUT_S = 20
# As Kubeflow 2.17 tells the end: a run that was terminated is still RUNNING to its exit handler.
_STATES = {"COMPLETE": "done", "SUCCEEDED": "done", "FAILED": "failed", "RUNNING": "cancelled"}


def end_run(settings: str, state: str) -> None:
    """Do all of it; what fails but the summary is said and does not fail the run."""
    store, config, run_id = (
        store_from_environment(),
        RunConfig.model_validate_json(settings),
        os.environ[environment.RUN_ID],
    )
    if environment.TRAIN_JOB in os.environ:
        _end_train_jobs(run_id)
    summary = summary_of(store, config.name, run_id, _STATES.get(state, state.lower()))
    store.put(summary_name(run_id), json.dumps(summary, indent=1, sort_keys=True).encode())
    text = told(summary)
    say(text)
    if url := os.environ.get(environment.WEBHOOK):
        notify(url, text)
    track(store, config, run_id, summary["outcome"])


def summary_of(store: ObjectStore, name: str, run_id: str, state: str) -> dict[str, Any]:
    """What a run came to, from the records its steps left."""
    records = run_records(store, run_id)
    outcome = _outcome(store, records) if state == "done" else {"outcome": state}
    return {
        "run_id": run_id,
        "name": name,
        "state": state,
        "ended_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "steps": {
            step: {
                "artifact": record.output,
                "reused": record.reused,
                "wall_s": record.wall_s,
                "gpu_s": round(record.wall_s * record.gpus, 2),
            }
            for step, record in records.items()
        },
        **outcome,
    }


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


def notify(url: str, text: str) -> None:
    """Post a text to a webhook. A failure is said without the URL, which is a secret."""
    data, headers = json.dumps({"text": text}).encode(), {"Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=_TIMEOUT_S):
            pass
    except urllib.error.HTTPError as error:
        say(f"the webhook answers {error.code}; nobody was notified")
    except (OSError, ValueError) as error:
        say(f"the webhook can't be reached ({type(error).__name__}); nobody was notified")


def _outcome(store: ObjectStore, records: dict[str, StepRecord]) -> dict[str, Any]:
    pushed = records.get("registry_push")
    if pushed is None:
        return {"outcome": "ended without a verdict"}
    found: dict[str, Any] = json.loads(store.get(f"{artifact_prefix(pushed.output)}/outcome.json"))
    return found


def _end_train_jobs(run_id: str) -> None:
    try:
        cluster = connect()
        for job in train_jobs_of(cluster, run_id):
            delete_left(cluster, job)
            say(f"deleted TrainJob {job.name}")
    except ClusterError as error:
        say(f"training jobs of this run may be left, which `flowmap gc --cluster` deletes: {error}")
