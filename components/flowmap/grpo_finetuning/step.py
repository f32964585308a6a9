"""GRPO fine-tuning: training processes make the model; this says what it is and what it was rewarded with.

The processes keep complete checkpoints in the store while they work, so a killed run goes on from the
newest.
"""

from __future__ import annotations

import json

from flowmap.models import SamplerFacts
from flowmap.models.storing import copy_parts, read_model_facts, write_model_facts
from flowmap.settings import GrpoFinetuning
from flowmap.steps.context import Context
from flowmap.training.work import Training


def run(context: Context[GrpoFinetuning]) -> None:
    section = context.section
    context.train([Training("flowmap.grpo_finetuning.worker", section, num_processes=section.processes)])
    base = read_model_facts(context.inputs["base"])
    (context.out / "grpo.json").write_text(json.dumps(section.decisive(), indent=1, sort_keys=True))
    write_model_facts(
        context.out, base.model_copy(update={"grid": section.grid, "sampler": sampler_of(section)})
    )
    copy_parts(context.inputs["base"], context.out)


def sampler_of(section: GrpoFinetuning) -> SamplerFacts | None:
    """How the model is to be drawn, where that is not the map along the grid."""
    if section.sampler is None:
        return None
    window = section.window or tuple(range(len(section.grid) - 2))
    return SamplerFacts(kernel=section.kernel, anchor_distance=section.anchor_distance, window=window)
