"""What a run would do, before it is started: which steps would be reused, and how long the others last took.

Step digests are followed through the DAG as a run would, over the results that the store has. After the first step that
would run, what follows can't be known and is taken to run too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flowmap.artifacts.store import ObjectStore
from flowmap.code_version import code_version
from flowmap.config import RunConfig
from flowmap.data.external import external_digests
from flowmap.lineage.record import StepRecord, last_done
from flowmap.step import finished_result, incumbent_of, section_of, step_digest
from flowmap_pipelines.profile import Profile
from flowmap_pipelines.run_section import seconds_text


@dataclass(frozen=True)
class _Step:
    """A step as its shell runs it: what it reads from which step, and what else enters its digest."""

    name: str
    reads: Mapping[str, str] = field(default_factory=dict)
    external: Callable[[RunConfig], Mapping[str, str]] | None = None
    with_incumbent: bool = False
    reuse: bool = True


_DAG = (
    _Step("data_prep", external=external_digests),
    _Step("base_training", {"data": "data_prep"}),
    _Step("reward_training", {"data": "data_prep"}),
    _Step("grpo_finetuning", {"base": "base_training", "reward": "reward_training"}),
    _Step(
        "evaluation",
        {"data": "data_prep", "base": "base_training", "reward": "reward_training", "tuned": "grpo_finetuning"},
        with_incumbent=True,
    ),
    _Step("registry_push", {"tuned": "grpo_finetuning", "evaluated": "evaluation"}, reuse=False),
)


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
    """Every step in order. Raises DataError when the user's data are not there."""
    made: dict[str, str] = {}
    planned = []
    for step in _DAG:
        reason, output = _reason(step, config, store, made)
        if output is not None:
            made[step.name] = output
        planned.append(PlannedStep(step.name, not reason, reason, last_done(store, step.name), output))
    return planned


def _reason(step: _Step, config: RunConfig, store: ObjectStore, made: Mapping[str, str]) -> tuple[str, str | None]:
    """Why a step would run, or "" and its artifact's digest."""
    waited_for = [source for source in step.reads.values() if source not in made]
    if waited_for:
        return f"after {', '.join(waited_for)}", None
    if not step.reuse:
        return "always: its effect is outside its artifact", None
    inputs = {name: made[source] for name, source in step.reads.items()}
    if step.with_incumbent and (version := incumbent_of(store, config, inputs["tuned"])):
        inputs["incumbent"] = version.manifest.digest
    if step.external is not None:
        inputs |= step.external(config)
    digest = step_digest(step.name, "run", code_version(step.name), section_of(step.name, config), inputs)
    finished = finished_result(store, digest)
    if finished is None:
        return "no result for these settings, this code and these inputs", None
    return "", finished.digest


def price(planned: list[PlannedStep], profile: Profile) -> float | None:
    """What the steps that run would cost, by what they last took; None where no price or no time is known."""
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
    total = f"about {seconds_text(sum(known))}, by what the steps last took" if known else "no time is on record yet"
    if known and unknown:
        total += f"; not known of {', '.join(unknown)}"
    return "\n".join([*lines, "", total])
