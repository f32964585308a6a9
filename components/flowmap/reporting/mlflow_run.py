"""A run of the pipeline as a run of MLflow, where MLFLOW_TRACKING_URI says that somebody looks there.

The experiment is the model's name; settings are parameters, the candidate's figures and GRPO's curve are
metrics, and digests and the outcome are tags. A run is written once, or completed when it had failed before
and was retried; the tag `flowmap.run` tells.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from flowmap.artifacts.store import ObjectStore, read_there
from flowmap.artifacts.transfer import artifact_prefix
from flowmap.lineage.record import StepRecord, run_records
from flowmap.progress import say
from flowmap.registry.evaluation_result import read_evaluated
from flowmap.settings import RunConfig, environment

_BATCH = 900
_LONGEST = 500
_BOUNDS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
}  # it would wait for 16 minutes


def track(store: ObjectStore, config: RunConfig, run_id: str, outcome: str) -> None:
    """Tell MLflow of a run that has ended, if anybody looks there; a failure is said and fails nothing."""
    if not os.environ.get(environment.MLFLOW_URI):
        return
    for name, bound in _BOUNDS.items():
        os.environ.setdefault(name, bound)
    try:
        _track(store, config, run_id, outcome)
    except ImportError:
        say(f"{environment.MLFLOW_URI} is set, but mlflow is not installed: pip install 'flowmap[mlflow]'")
    except Exception as error:  # whatever a tracking server does to it, the run itself is done
        told = " ".join(str(error).split())[:200]
        say(f"MLflow was not told of the run: {type(error).__name__}: {told}")


def _track(store: ObjectStore, config: RunConfig, run_id: str, outcome: str) -> None:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    client, records = MlflowClient(), run_records(store, run_id)
    told = client.get_experiment_by_name(config.name)
    experiment = client.create_experiment(config.name) if told is None else told.experiment_id
    found = client.search_runs([experiment], f"tags.`flowmap.run` = '{run_id}'", max_results=1)
    if found and found[0].info.status == "FINISHED":
        return
    known = (
        found[0] if found else client.create_run(experiment, run_name=run_id, tags={"flowmap.run": run_id})
    )
    made = known.info.run_id
    params = [Param(name, value[:_LONGEST]) for name, value in _flat(json.loads(config.to_json()))]
    tags = [RunTag("flowmap.outcome", outcome), *(RunTag(*tag) for tag in _tags(records))]
    for start in range(0, len(params), 100):
        client.log_batch(made, params=params[start : start + 100])
    client.log_batch(made, tags=tags)
    points = (point for point in _metrics(store, records) if point[0] not in known.data.metrics)
    metrics = [Metric(name, value, 0, step) for name, value, step in points]
    for start in range(0, len(metrics), _BATCH):
        client.log_batch(made, metrics=metrics[start : start + _BATCH])
    client.set_terminated(made, {"failed": "FAILED", "cancelled": "KILLED"}.get(outcome, "FINISHED"))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)


def _tags(records: Mapping[str, StepRecord]) -> Iterator[tuple[str, str]]:
    for step, record in records.items():
        yield f"flowmap.{step}", record.output
        yield f"flowmap.{step}.reused", str(record.reused).lower()


def _metrics(store: ObjectStore, records: Mapping[str, StepRecord]) -> Iterator[tuple[str, float, int]]:
    """Name, value and step of each point."""
    if tuned := records.get("grpo_finetuning"):
        for row in json.loads(read_there(store, f"{artifact_prefix(tuned.output)}/curve.json")):
            for name, value in row.items():
                if name != "rollout":
                    yield f"grpo.{name}", value, int(row["rollout"])
    if judged := records.get("evaluation"):
        for name, value in read_evaluated(store, judged.output).figures().items():
            yield f"evaluation.{name}", value, 0
