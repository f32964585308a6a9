"""How a run on Kubeflow Pipelines is, step by step, and why a step failed.

steps = steps_of(run)                        # in the order they began
run = follow(kubeflow, run_id)               # tells each change, and returns when the run has ended
outcome_of(run)                              # "promoted", "passed", "rejected", "failed" or "cancelled"
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from flowmap.progress import say
from flowmap.steps.dag import PROMOTE, REJECT, step_of
from flowmap_pipelines.kubeflow.client import Kubeflow
from flowmap_pipelines.kubeflow.resources import Run, Task
from flowmap_pipelines.profile import STEPS

PROMOTED, REJECTED = (step_of("registry_push", verdict).task for verdict in (PROMOTE, REJECT))
_POLL_S = 5.0
_LAST_LINES = 15
_OUTCOMES = {"promoted": 0, "passed": 0, "rejected": 3, "failed": 1, "cancelled": 1}
# The tasks that are no steps of their own, but belong to one.
_KNOWN = (*STEPS, REJECTED)


@dataclass(frozen=True)
class StepState:
    """A step as the server tells it."""

    step: str
    state: str
    start: datetime | None
    end: datetime | None

    @property
    def section(self) -> str:
        """The section of the configuration, by which its pods are labelled."""
        return PROMOTED if self.step == REJECTED else self.step

    @property
    def seconds(self) -> float | None:
        """How long it took, or has taken so far."""
        if self.start is None:
            return None
        return ((self.end or datetime.now(UTC)) - self.start).total_seconds()


def steps_of(run: Run) -> list[StepState]:
    """The steps that have begun or are waiting, in the order of the pipeline."""
    found: dict[str, Task] = {}
    for task in run.tasks:
        step = task.name.replace("-", "_")
        if step in _KNOWN and (step not in found or task.end is None or task.state == "failed"):
            found[step] = task
    return [_state(step, found[step], run.has_ended) for step in _KNOWN if step in found]


def _state(step: str, task: Task, run_has_ended: bool) -> StepState:
    if run_has_ended and task.state == "pending":  # the server never says that a step will not run any more
        return StepState(step, "skipped", None, None)
    return StepState(step, task.state, task.start, task.end)


def outcome_of(run: Run) -> str:
    """What an ended run came to."""
    if run.state != "done":
        return run.state
    rejected = any(each.step == REJECTED and each.state == "done" for each in steps_of(run))
    publishes = json.loads(run.settings or "{}").get("registry_push", {}).get("publish", True)
    return "rejected" if rejected else "promoted" if publishes else "passed"


def exit_code_of(run: Run) -> int:
    """The status a command ends with that waited for this run."""
    return _OUTCOMES[outcome_of(run)]


def follow(kubeflow: Kubeflow, run_id: str, troubles: Callable[[Run], Mapping[str, str]]) -> Run:
    """Wait for a run to end, and say what becomes of its steps meanwhile.

    `troubles` says why steps of the run can't start, by step: Kubeflow itself never does, and waits.
    """
    told: dict[str, str] = {}
    while True:
        run = kubeflow.run(run_id)
        for each in steps_of(run):
            if told.get(each.step) != each.state and each.state not in ("pending", "skipped"):
                told[each.step] = each.state
                took = f" after {each.seconds:.0f} s" if each.end and each.seconds is not None else ""
                say(f"{each.step}: {each.state}{took}")
        if run.has_ended:
            return run
        for step, trouble in troubles(run).items():
            if told.get(f"{step} can't start") != trouble:
                told[f"{step} can't start"] = trouble
                say(f"{step} can't start: {trouble}")
        time.sleep(_POLL_S)


def why_failed(kubeflow: Kubeflow, run: Run, of_the_cluster: Callable[[], Sequence[str]]) -> str:
    """The failed steps' own words: the message a step ended with, or the last that it printed.

    Where none has failed, as where no pod could be made, what the cluster says of the whole run.
    """
    lines = []
    for each in steps_of(run):
        if each.state == "failed":
            lines.append(
                f"{each.step} failed: {_last_words(each.section, log_of(kubeflow, run, each).splitlines())}"
            )
    return "\n".join(lines or of_the_cluster()) or (
        "no step says that it failed, and the cluster was not asked or says nothing: with KUBECONFIG and "
        "--namespace set, `flowmap doctor --cluster` looks for what is missing"
    )


def log_of(kubeflow: Kubeflow, run: Run, step: StepState) -> str:
    """What a step printed, of its last attempt; its own lines say which pod was its."""
    found = unknown = ""
    for pod in run.pods:
        log = kubeflow.log(run.run_id, pod)
        speakers = {text.partition(":")[0] for text in map(said, log.splitlines()) if text}
        if step.section in speakers:
            found = log
        elif not speakers & set(STEPS):  # it failed before it came to the step's own code
            unknown = log
    return found or unknown


def said(line: str) -> str:
    """What a line of a pod's log says: of a line in JSON its text, which is all that Kubeflow keeps of
    it."""
    try:
        return str(json.loads(line)["log"])
    except (ValueError, KeyError, TypeError):
        return line


def _last_words(step: str, log: Sequence[str]) -> str:
    """The last that a step itself said, or else the last lines of all."""
    own = (
        text.removeprefix(f"{step}: ") for text in map(said, reversed(log)) if text.startswith(f"{step}: ")
    )
    return next(own, "\n".join(log[-_LAST_LINES:]) or "its log is gone")
