"""What a run would do, before it is started: which steps would be reused, and how long the others last took.

Step digests are followed through the DAG as a run would, over the results that the store has. After the
first step that would run, what follows can't be known and is taken to run too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flowmap.artifacts.manifest import Manifest
from flowmap.artifacts.results import finished_result
from flowmap.artifacts.store import ObjectStore
from flowmap.lineage.record import StepRecord, last_done
from flowmap.settings import RunConfig
from flowmap.steps.dag import PIPELINE, sources_of
from flowmap.steps.digests import decisions, digest_of, installed, without_build
from flowmap.steps.step import Input, Step
from flowmap_pipelines.profile import Profile
from flowmap_pipelines.run_section import seconds_text


@dataclass(frozen=True)
class PlannedStep:
    """One step of a run that has not begun.

    Attributes:
        reused: its result is in the store.
        reason: why it would run; empty when it would not.
        last: its newest record of having run, with any settings; None without one.
        output: the digest of the result that is there.
    """

    name: str
    reused: bool
    reason: str
    last: StepRecord | None
    output: str | None

    def to_json(self) -> dict[str, Any]:
        last = None if self.last is None else {"run_id": self.last.run_id, "wall_s": self.last.wall_s}
        return {"step": self.name, "reused": self.reused, "reason": self.reason, "last": last}


def plan(config: RunConfig, store: ObjectStore) -> list[PlannedStep]:
    """Every step in order, both branches behind the gate as one.

    Raises DataError when the data are not there, or make no model that could take its name.
    """
    made: dict[str, str] = {}
    planned: dict[str, PlannedStep] = {}
    for step in PIPELINE:
        if step.name in planned:
            continue
        last = last_done(store, step.name)
        reason, output = _reason(step, config, store, made, last)
        if output is not None:
            made[step.name] = output.digest
            step.check(config, store, output)
        digest = None if output is None else output.digest
        planned[step.name] = PlannedStep(step.name, not reason, reason, last, digest)
    return list(planned.values())


def _reason(
    step: Step, config: RunConfig, store: ObjectStore, made: Mapping[str, str], last: StepRecord | None
) -> tuple[str, Manifest | None]:
    """Why a step would run, or "" and its artifact."""
    waited_for = [name for name in step.reads if name not in made]
    if waited_for:
        return f"after {', '.join(waited_for)}", None
    if not step.reuse:
        return "always: its effect is outside its artifact", None
    inputs = {source.output: Input(made[source.name]) for source in sources_of(step)}
    inputs |= step.extra_inputs(config, store, inputs)

    def version(library: str) -> str | None:
        """As here, or where it is not installed, as where the step last ran."""
        known = "" if last is None else last.libraries.get(library, "")
        return installed(library) or without_build(known) or None

    finished = finished_result(store, digest_of(decisions(step, config, inputs, version)))
    if finished is None:
        return "no result for these settings, this code, these libraries and inputs", None
    return "", finished


def price(planned: list[PlannedStep], profile: Profile) -> float | None:
    """What the steps that run would cost, by what they last took; None where no price or no time is
    known."""
    running = [step for step in planned if not step.reused]
    costs = [(profile.step(step.name).price_per_hour, step.last) for step in running]
    known = [rate * last.wall_s / 3600 for rate, last in costs if rate is not None and last is not None]
    return sum(known) if known else None


def plan_text(planned: list[PlannedStep]) -> str:
    """A line for each step, and the time that those which run took when they last ran."""
    lines = []
    for step in planned:
        took = "never ran here" if step.last is None else f"last took {seconds_text(step.last.wall_s)}"
        lines.append(f"{step.name:<18}" + ("reused" if step.reused else f"runs ({step.reason}); {took}"))
    known = [step.last.wall_s for step in planned if not step.reused and step.last is not None]
    unknown = [step.name for step in planned if not step.reused and step.last is None]
    total = (
        f"about {seconds_text(sum(known))}, by what the steps last took"
        if known
        else "no time is on record yet"
    )
    if known and unknown:
        total += f"; not known of {', '.join(unknown)}"
    return "\n".join([*lines, "", total])
