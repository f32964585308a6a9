"""GRPO fine-tuning: training processes make the model; this says what it is and what it was rewarded with.

The processes keep complete checkpoints in the store while they work, so a killed run goes on from the
newest.
"""

from __future__ import annotations

import json

from flowmap.models.storing import copy_parts, read_model_facts, write_model_facts
from flowmap.settings import GrpoFinetuning
from flowmap.steps.context import Context
from flowmap.training.work import Training


def run(context: Context[GrpoFinetuning]) -> None:
    section = context.section
    context.train([Training("flowmap.grpo_finetuning.worker", section, num_processes=section.processes)])
    base = read_model_facts(context.inputs["base"])
    (context.out / "grpo.json").write_text(json.dumps(section.decisive(), indent=1, sort_keys=True))
    write_model_facts(context.out, base.model_copy(update={"grid": section.grid}))
    copy_parts(context.inputs["base"], context.out)
