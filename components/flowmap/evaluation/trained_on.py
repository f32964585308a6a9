"""The base trained on, as a control: what GRPO's work would have bought as more of what came before it.

    with begun(context) as control:                 # beside everything else
        ...
        entrant = control.entrant(base)             # None where nothing says how the base was trained

It sees the base's data with the base's captions, for as much work as GRPO took: network evaluations, of
which a backward pass counts as two and the derivative along the path as three. What rewards cost is not
counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from flowmap.data.encoded import encoded_facts
from flowmap.evaluation.entrants import Entrant
from flowmap.settings import BaseTraining, Evaluation, GrpoFinetuning
from flowmap.steps.context import Context
from flowmap.training.base_losses import is_exact
from flowmap.training.work import Training

NAME = "base trained on"
_TRAINING = "trained_on"
_PASS, _DERIVATIVE = 3, 3  # there and back; along the path
_BASE, _GRPO, _CURVE = "base.json", "grpo.json", "curve.json"


@dataclass(frozen=True)
class TrainedOn:
    """A training that is under way, or none.

    Attributes:
        weights: where they will be.
    """

    weights: Path
    training: Future[None] | None = None

    def entrant(self, base: Entrant) -> Entrant | None:
        """The base with the weights that it has come to, once that is done. Raises what its training
        raised."""
        if self.training is None:
            return None
        self.training.result()
        return replace(base, weights=str(self.weights))


@contextmanager
def begun(context: Context[Evaluation]) -> Iterator[TrainedOn]:
    """Begin it in a process of its own. What it leaves is gone at the end."""
    found, section = TrainedOn(context.out / _TRAINING), _section(context)
    if section is None:
        yield found
        return
    training = Training("flowmap.evaluation.trained_on_worker", section, name=_TRAINING)
    with ThreadPoolExecutor(1) as pool:
        yield replace(found, training=pool.submit(context.train, [training]))
    found.weights.with_suffix(".safetensors").unlink()


def num_updates(base: BaseTraining, grpo: GrpoFinetuning, rollouts: int) -> int:
    """Updates of the base's map that take as many network evaluations as GRPO did; at least one."""
    assert base.batch_size is not None
    transitions = len(grpo.window) if grpo.window is not None else len(grpo.grid) - 2
    maps = 2 if grpo.composed or grpo.kernel == "local" else 1  # of a transition
    drawn = len(grpo.grid) - 1
    trained = grpo.updates_per_rollout * transitions * maps * (_PASS + 1)  # one for the reference
    of_grpo = rollouts * grpo.groups * grpo.group_size * (drawn + trained)
    exact = is_exact(base)
    derivative = _DERIVATIVE if exact else 2 * (1 - base.equal_times)  # a central difference
    if base.checkpoint is not None and base.checkpoint.guidance is not None:
        derivative += 2  # the teacher, with the prompt and without
    return max(1, round(of_grpo / (base.batch_size * (_PASS + derivative))))


def _section(context: Context[Evaluation]) -> BaseTraining | None:
    """How to go on; None where it is not wanted, or nothing says how the base was trained."""
    base, tuned = context.inputs["base"], context.inputs["tuned"]
    if not context.section.train_on or not (base / _BASE).is_file():
        return None
    section = BaseTraining.model_validate_json((base / _BASE).read_bytes())
    if section.checkpoint is not None and encoded_facts(context.inputs["data"]) is not None:
        return None  # what was encoded may be as much as there is of it
    grpo = GrpoFinetuning.model_validate_json((tuned / _GRPO).read_bytes())
    rollouts = len(json.loads((tuned / _CURVE).read_text()))
    return section.model_copy(update={"updates": num_updates(section, grpo, rollouts)})
