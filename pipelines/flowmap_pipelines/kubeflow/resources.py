"""What Kubeflow Pipelines says, in this project's terms.

It is read as version 2.17 says it: a cancelled run ends as FAILED there, and only its history tells; a time
that has not come yet is 1970 or the year 1; a step is several nodes of Argo's, and nothing says which step a
pod's id is of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import dropwhile, takewhile
from typing import Any

_EXECUTOR = "executor"
_STATES = {
    "SUCCEEDED": "done",
    "FAILED": "failed",
    "CANCELED": "cancelled",
    "CANCELING": "cancelling",
    "RUNNING": "running",
    "SKIPPED": "skipped",
}


@dataclass(frozen=True)
class Task:
    """One node of a run's graph, as the server names it; `state` as in `Run`, or skipped."""

    name: str
    state: str
    start: datetime | None
    end: datetime | None


@dataclass(frozen=True)
class Run:
    """A run: `state` is pending, running, cancelling, done, failed or cancelled.

    `pods` are the ids by which the logs of its steps' pods are asked for; the server does not say whose is
    whose.
    """

    run_id: str
    name: str
    description: str
    state: str
    created: datetime
    end: datetime | None
    schedule_id: str | None
    version: str
    settings: str
    tasks: tuple[Task, ...]
    pods: tuple[str, ...]

    @property
    def has_ended(self) -> bool:
        return self.state in ("done", "failed", "cancelled")


@dataclass(frozen=True)
class Schedule:
    """A recurring run; `cron` has Kubeflow's six fields."""

    schedule_id: str
    name: str
    description: str
    cron: str
    is_enabled: bool
    created: datetime
    settings: str


def run_of(told: Any) -> Run:
    """Read what the server says of a run."""
    state = _STATES.get(str(told.state), "pending")
    if state == "failed" and _was_cancelled([str(each.state) for each in told.state_history or []]):
        state = "cancelled"
    details = (told.run_details.task_details if told.run_details else None) or []
    executors = [each for each in details if each.display_name == _EXECUTOR]
    parameters = (told.runtime_config.parameters if told.runtime_config else None) or {}
    return Run(
        run_id=told.run_id,
        name=told.display_name,
        description=told.description or "",
        state=state,
        created=told.created_at,
        end=_time(told.finished_at),
        schedule_id=told.recurring_run_id or None,
        version=str(told.pipeline_version_reference.pipeline_version_id)
        if told.pipeline_version_reference
        else "",
        settings=str(parameters.get("settings", "")),
        tasks=tuple(map(_task, details)),
        pods=tuple(child.pod_name for each in executors for child in each.child_tasks or []),
    )


def _was_cancelled(history: Sequence[str]) -> bool:
    """Whether it was asked to end since it last failed: a run that is retried keeps its history."""
    backwards = dropwhile(lambda state: state == "FAILED", reversed(history))
    since_failure = takewhile(lambda state: state != "FAILED", backwards)
    return "CANCELING" in since_failure


def _task(told: Any) -> Task:
    return Task(
        name=told.display_name or "",
        state=_STATES.get(str(told.state), "pending"),
        start=_time(told.start_time),
        end=_time(told.end_time),
    )


def schedule_of(told: Any) -> Schedule:
    """Read what the server says of a recurring run."""
    return Schedule(
        schedule_id=told.recurring_run_id,
        name=told.display_name,
        description=told.description or "",
        cron=told.trigger.cron_schedule.cron if told.trigger and told.trigger.cron_schedule else "",
        is_enabled=str(told.status) == "ENABLED",
        created=told.created_at,
        settings=str((told.runtime_config.parameters or {}).get("settings", ""))
        if told.runtime_config
        else "",
    )


def _time(told: datetime | None) -> datetime | None:
    """A time; the server says 1970 for one that has not come yet."""
    return told if told is not None and told.year > 1970 else None
