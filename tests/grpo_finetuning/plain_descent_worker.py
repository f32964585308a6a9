"""GRPO's worker with plain gradient descent: what it adds to a weight is the gradient itself.

Adam divides by the size of a gradient, so where one is zero but for rounding, its first step is a whole
learning rate in a direction that the processor decides.
"""

from typing import Any

import torch

from flowmap.grpo_finetuning import worker
from flowmap.rewards import Samples
from flowmap.training.deepspeed_engine import init_distributed
from flowmap.training.work import Work


class PlainDescent(torch.optim.SGD):
    """Called as AdamW is."""

    def __init__(self, parameters: Any, learning_rate: float, **_: Any) -> None:
        super().__init__(parameters, learning_rate)


def train(work: Work) -> None:
    init_distributed()  # DeepSpeed looks at AdamW when it is imported
    # The worker looks the optimizer up by this name; no setting chooses another, as no user should.
    torch.optim.AdamW = PlainDescent  # type: ignore[misc,assignment]
    worker.train(work)


def bright(samples: Samples) -> list[list[float]]:
    """A reward."""
    return [[float(x.mean()) for x in group] for group in samples.data]
