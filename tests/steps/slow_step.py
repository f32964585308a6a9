"""A step of two seconds that counts, in the real frame: `python -m tests.steps.slow_step STORE OUTPUT`.

It takes a number from a generator twenty times and adds them up, with a checkpoint after every other one.
"""

import json
import os
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch

from flowmap.progress import say
from flowmap.settings import RunConfig, Section, environment
from flowmap.steps import dag
from flowmap.steps.context import Context
from flowmap.steps.frame import execute
from flowmap.steps.step import Step

NUM, PAUSE_S = 20, 0.1


class Counting(Section):
    """The step's settings."""

    seed: int = 3


def run(context: Context[Counting]) -> None:
    folder = context.scratch / "checkpoint"
    generator, numbers = torch.Generator().manual_seed(context.section.seed), []
    done = context.checkpoints.restore(folder) or 0
    if done:
        kept = torch.load(folder / "state.pt", weights_only=True)
        generator.set_state(kept["generator"])
        numbers = kept["numbers"]
        say(f"goes on after {done}")
    for index in range(done, NUM):
        time.sleep(PAUSE_S)
        numbers.append(float(torch.rand((), generator=generator)))
        if index % 2:
            folder.mkdir(exist_ok=True)
            torch.save({"generator": generator.get_state(), "numbers": numbers}, folder / "state.pt")
            context.checkpoints.save(index + 1, folder)
    (context.out / "sum.json").write_text(json.dumps(sum(numbers)))


def main(store: str, output: str) -> None:
    os.environ[environment.STORE] = store
    module = ModuleType("flowmap.slow.step")
    module.run = run  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    step = Step("slow", "counted", section_of=lambda step, config: Counting())
    vars(dag)["PIPELINE"] = (step,)
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    execute("slow", RunConfig(name="x").to_json(), {}, SimpleNamespace(path=output, metadata={}))


if __name__ == "__main__":
    main(*sys.argv[1:])
