"""The DAG as Kubeflow runs it: made from the steps' definitions.

What each step's pod gets is a profile's matter.
"""

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby
from typing import Any

from kfp import dsl

from flowmap.run_end.component import run_end
from flowmap.steps.dag import PIPELINE, PROMOTE, sources_of
from flowmap.steps.step import Step

RUN_END = "run_end"
VERDICT = "verdict"  # the output that branches wait for
Configure = Callable[[str, dsl.PipelineTask], None]


def make_pipeline(configure: Configure | None = None) -> Any:
    """The pipeline; `configure` is called with the name of the section and the task of each step.

    With it, on a cluster, where nobody waits for a run, an exit handler tells what it came to.
    """

    def ending(settings: Any) -> AbstractContextManager[Any]:
        return (
            nullcontext()
            if configure is None
            else dsl.ExitHandler(configured(RUN_END, run_end(settings=settings)))
        )

    def configured(section: str, task: dsl.PipelineTask) -> dsl.PipelineTask:
        """Every step's own reuse decides whether it runs, so Kubeflow's cache is off for all of them."""
        task.set_caching_options(False)
        if configure is not None:
            configure(section, task)
        return task

    def train(settings: Any) -> None:
        outputs: dict[str, Any] = {}

        def add(step: Step) -> None:
            inputs = {source.output: outputs[source.output] for source in sources_of(step)}
            made = configured(step.name, component_of(step)(settings=settings, **inputs)).outputs
            outputs.update(made)

        for verdict, steps in groupby(PIPELINE, key=lambda step: step.when):
            with branch(verdict, outputs):
                for step in steps:
                    add(step)

    @dsl.pipeline(name="flowmap", description="Train a few-step generator with reinforcement learning")
    def training_pipeline(settings: str):
        with ending(settings):
            train(settings)

    return training_pipeline


def branch(verdict: str | None, outputs: dict[str, Any]) -> AbstractContextManager[Any]:
    """Where the steps go that wait for a verdict: the first of both branches, or the other one."""
    if verdict is None:
        return nullcontext()
    condition: AbstractContextManager[Any] = (
        dsl.If(outputs[VERDICT] == verdict) if verdict == PROMOTE else dsl.Else()
    )
    return condition


def component_of(step: Step) -> Any:
    """The KFP shell of a step, in its folder's component.py."""
    return getattr(importlib.import_module(f"flowmap.{step.name}.component"), step.task)
