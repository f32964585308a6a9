"""GRPO fine-tuning: the launcher starts the training processes; this waits, and says what model they made.

The processes keep complete checkpoints in the store while they work, so a killed run goes on from the newest.
"""

from __future__ import annotations

from flowmap.networks import read_model_facts, write_model_facts
from flowmap.step import Context
from flowmap.training.job import Job
from flowmap.training.launcher import launch


def run(context: Context) -> None:
    section = context.config.grpo_finetuning
    launch(
        [
            Job(
                module="flowmap.grpo_finetuning.worker",
                settings=context.config.to_json(),
                inputs=dict(context.inputs),
                manifests=dict(context.manifests),
                out=context.out,
                scratch=context.scratch / "training",
                store=context.store.url,
                checkpoints=context.checkpoints.prefix,
                num_processes=section.processes,
            )
        ]
    )
    base = read_model_facts(context.inputs["base"])
    write_model_facts(context.out, base.model_copy(update={"grid": section.grid}))
