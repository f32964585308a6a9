"""The exit handler: the run's training jobs ended, its summary in the store, and everybody told.

People are told whatever else fails: it needs nothing but what it tells with.
"""

from __future__ import annotations

import os
import sys

from flowmap.artifacts.store import ObjectStore, open_store
from flowmap.errors import ConfigError, FlowmapError
from flowmap.kubernetes.api import connect
from flowmap.kubernetes.leftovers import delete_left, train_jobs_of
from flowmap.progress import say
from flowmap.reporting.mlflow_run import track
from flowmap.reporting.summary import summary_of, summary_without_store, told, write_summary
from flowmap.reporting.webhook import notify
from flowmap.settings import RunConfig, environment

_SOON_S = 45.0  # how long the store and the API server may be away before people are told without them
# As Kubeflow 2.17 tells the end: a run that was terminated is still RUNNING to its exit handler.
_STATES = {"COMPLETE": "done", "SUCCEEDED": "done", "FAILED": "failed", "RUNNING": "cancelled"}


def end_run(settings: str, state: str) -> None:
    """Do all of it; only a summary that could not be written ends the process with status 1."""
    config, run_id = RunConfig.model_validate_json(settings), os.environ[environment.RUN_ID]
    state = _STATES.get(state, state.lower())
    if environment.TRAIN_JOB in os.environ:
        _end_train_jobs(run_id)
    try:
        store = _store()
        summary = summary_of(store, config.name, run_id, state)
        write_summary(store, summary)
    except Exception as error:  # whatever it is, people are told first
        why = str(error) if isinstance(error, FlowmapError) else f"{type(error).__name__}: {error}"
        known = told(summary_without_store(config.name, run_id, state))
        text = f"{known}; its summary was not written: {why}"
        say(text)
        notify(text)
        if isinstance(error, FlowmapError):
            sys.exit(1)
        raise
    say(told(summary))
    notify(told(summary))
    track(store, config, run_id, summary["outcome"])


def _store() -> ObjectStore:
    """The run's store; its ConfigMap is optional here, so that it may be missing."""
    if environment.STORE not in os.environ:
        raise ConfigError("where the store is was not told")
    return open_store(os.environ[environment.STORE], patience=_SOON_S)


def _end_train_jobs(run_id: str) -> None:
    try:
        cluster = connect(patience=_SOON_S)
        for job in train_jobs_of(cluster, run_id):
            delete_left(cluster, job)
            say(f"deleted TrainJob {job.name}")
    except FlowmapError as error:
        say(f"training jobs of this run may be left, which `flowmap gc --cluster` deletes: {error}")
