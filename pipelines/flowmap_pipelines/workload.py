"""How much a text-to-image run computes, before it was ever run: passes of the transformer, and the hours
that they are about.

    workload(config, facts, num_prompts).hours          # by step

A pass is one evaluation of the network for one sample. What passes forward, backward and along the path cost
was counted by torch on models of a few thousand weights, where the tests count again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flowmap.base_training.sizes import baseline_updates, with_sizes
from flowmap.evaluation.amounts import BEST_OF, SCALES, num_asked
from flowmap.models import TextToImageFacts
from flowmap.settings import BaseTraining, GrpoFinetuning, RunConfig

# An H100's, of dense matrices, float32 as such and not as TF32; and the share that training reaches.
_FLOPS = {"bfloat16": 989e12, "float32": 67e12}
_BUSY = 0.4
_HOUR = 3600
# Of passes forward: backward with all weights trained, or adapters; the map's loss with its derivative along
# the path, as a difference or as a product; flow matching's.
_BACKWARD, _BACKWARD_ADAPTERS = 2.0, 1.2
_MAP_BY_DIFFERENCE, _MAP_BY_PRODUCT, _VELOCITY = 4.2, 5.5, 3.0
_GUIDANCE = 2.0


@dataclass(frozen=True)
class Workload:
    """Floating-point operations of each step, and the hours that they are about.

    Attributes:
        flops: all of a step's.
        processes: that share them.
        precision: that they are computed in.
    """

    flops: Mapping[str, float]
    processes: Mapping[str, int]
    precision: str

    @property
    def hours(self) -> dict[str, float]:
        """On one H100 for each process, at the share of its peak that training of such models reaches."""
        speed = _FLOPS[self.precision] * _BUSY * _HOUR
        return {name: flops / self.processes[name] / speed for name, flops in self.flops.items()}


def workload(config: RunConfig, facts: TextToImageFacts, num_prompts: int) -> Workload:
    """Of the steps that go through the transformer.

    Args: num_prompts: of the data.
    """
    grpo = config.grpo_finetuning
    base = with_sizes(config.base_training, facts.modality, facts.shape, 0)
    passes = {
        "grpo_finetuning": grpo.rollouts * rollout_passes(grpo),
        "evaluation": _evaluation_passes(config, num_prompts, guided=facts.guidance is not None),
    }
    if base.checkpoint is None or base.checkpoint.learns:
        passes = {"base_training": _base_passes(base, told=facts.told_guidance > 0), **passes}
    processes = {"base_training": base.processes or 1, "grpo_finetuning": grpo.processes, "evaluation": 1}
    return Workload(
        {name: number * facts.flops for name, number in passes.items()}, processes, facts.precision
    )


def rollout_passes(section: GrpoFinetuning) -> float:
    """Of one rollout: drawing, and for each update and transition policy and reference once more."""
    num_transitions = len(section.grid) - 2
    window = section.window or tuple(range(num_transitions))
    through = 2 if section.composed or section.kernel == "local" else 1  # evaluations of a transition's map
    drawn = len(section.grid) - 1 + len(window) * (through - 1)
    back = _BACKWARD if section.lora is None else _BACKWARD_ADAPTERS
    update = through * (2 + back + bool(section.gradient_checkpointing))
    samples = section.groups * section.group_size
    return samples * (drawn + section.updates_per_rollout * len(window) * update)


def _base_passes(section: BaseTraining, *, told: bool) -> float:
    """Args: told: whether the checkpoint is told a guidance, and teaches its own velocity."""
    updates, batch = section.updates or 0, section.batch_size or 0
    again = bool(section.gradient_checkpointing)
    from_scratch = section.checkpoint is None or bool(section.checkpoint.train)
    velocity = baseline_updates(section) * (_VELOCITY + again) if from_scratch else 0
    return batch * (updates * update_passes(section, told=told) + velocity)


def update_passes(section: BaseTraining, *, told: bool) -> float:
    """Of one update of the map, for each picture of its batch.

    Args: told: whether the checkpoint is told a guidance, and teaches its own velocity.
    """
    exact = section.checkpoint is not None and section.checkpoint.precision == "bfloat16"
    passes = (_MAP_BY_PRODUCT if exact else _MAP_BY_DIFFERENCE) + bool(section.gradient_checkpointing)
    if section.checkpoint is not None and section.checkpoint.guidance is not None:
        passes += _GUIDANCE
    elif told and section.checkpoint is not None and section.checkpoint.convert:
        passes += 1
    return passes


def _evaluation_passes(config: RunConfig, num_prompts: int, *, guided: bool) -> float:
    """Of the gate, of every model at every number of evaluations, and of the controls."""
    section, grpo = config.evaluation, config.grpo_finetuning
    alone, curve = config.data_prep.prompts is not None, len(SCALES) - 1
    prompts, each = num_asked(section, num_prompts, alone=alone)
    own = len(grpo.grid) - 1
    counts = {*section.evaluations, own}
    steps = {*section.baseline_evaluations, *counts}
    baseline = (sum(steps) + sum(step for step in steps if step % 2 == 0)) * (1 + guided)
    gate = own * (2 + curve + 2)
    controls = own * (curve + BEST_OF + grpo.snapshots)
    reference = section.most_steps * (1 + guided)
    return prompts * each * (gate + 3 * sum(counts) + baseline + controls + reference)
