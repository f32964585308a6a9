"""The DAG: wiring only. What each step's pod gets is a profile's matter."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from kfp import dsl

from flowmap.base_training.component import base_training
from flowmap.data_prep.component import data_prep
from flowmap.evaluation.component import evaluation
from flowmap.grpo_finetuning.component import grpo_finetuning
from flowmap.registry_push.component import record_rejection, registry_push
from flowmap.reward_training.component import reward_training
from flowmap.run_end.component import run_end

RUN_END = "run_end"
Configure = Callable[[str, dsl.PipelineTask], None]


def make_pipeline(configure: Configure | None = None) -> Any:
    """The pipeline; `configure` is called with the name of the section and the task of each step.

    With it, on a cluster, where nobody waits for a run, an exit handler tells what it came to.
    """

    def ending(settings: Any) -> AbstractContextManager[Any]:
        return nullcontext() if configure is None else dsl.ExitHandler(step(RUN_END, run_end(settings=settings)))

    def step(section: str, task: dsl.PipelineTask) -> dsl.PipelineTask:
        """Every step's own reuse decides whether it runs, so Kubeflow's cache is off for all of them."""
        task.set_caching_options(False)
        if configure is not None:
            configure(section, task)
        return task

    def train(settings: Any) -> None:
        data = step("data_prep", data_prep(settings=settings)).outputs["data"]
        base = step("base_training", base_training(settings=settings, data=data)).outputs["base"]
        reward = step("reward_training", reward_training(settings=settings, data=data)).outputs["reward"]
        tuning = grpo_finetuning(settings=settings, base=base, reward=reward)
        tuned = step("grpo_finetuning", tuning).outputs["tuned"]
        judging = evaluation(settings=settings, data=data, base=base, reward=reward, tuned=tuned)
        judged = step("evaluation", judging).outputs
        pushed = {"settings": settings, "tuned": tuned, "evaluated": judged["evaluated"]}
        with dsl.If(judged["verdict"] == "promote"):
            step("registry_push", registry_push(**pushed))
        with dsl.Else():
            step("registry_push", record_rejection(**pushed))

    @dsl.pipeline(name="flowmap", description="Train a few-step generator with reinforcement learning")
    def training_pipeline(settings: str):
        with ending(settings):
            train(settings)

    return training_pipeline
