"""The judge: a panel of classifiers, trained on a split that nothing else saw; it stays in evaluation.

What the reward model can be fooled by need not fool other networks with other data, and what fools one of
the panel need not fool the others, of which one is of another architecture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowmap.data.dataset import Split
from flowmap.modality.protocols import JudgeNetwork
from flowmap.progress import Progress
from flowmap.seeding import generator_for

Moved = Callable[[Tensor, torch.Generator], Tensor]

_BATCH = 128
_JITTER = 0.15
_WEIGHT_DECAY = 5e-2
_LEARNING_RATE = 1e-3
_TEMPERATURES = torch.logspace(-1, 1, 201)
_NUM_BINS = 10
_READ_AT_ONCE = 256


@dataclass(frozen=True)
class Opinion:
    """What a judge says of samples.

    Attributes:
        score: of each, (batch,): a classifier's log-probability of the prompt, a forecast's part in its
            group's score.
        right: whether it shows its prompt, (batch,).
        told: the prompt that it is taken for, (batch,); -1 for none.
    """

    score: Tensor
    right: Tensor
    told: Tensor


class Judge(Protocol):
    """Whoever judges samples, on one device.

    Attributes:
        least: the score below which nothing counts: that of chance, where there is such a thing.
        capped: whether nothing counts beyond what real data get on average.
        calibration_error: how far its confidence is from how often it is right, on held-out real data.
    """

    least: float
    capped: bool
    calibration_error: float

    def features(self, x: Tensor) -> Tensor:
        """What distances are measured in, (batch, features)."""

    def read(self, x: Tensor, prompt: Tensor) -> Opinion:
        """Of samples (batch, *data) that are to show prompts (batch,)."""


@runtime_checkable
class Explaining(Judge, Protocol):
    """One who can say what of a prompt a sample shows."""

    def met(self, x: Tensor, prompt: Tensor) -> Sequence[Mapping[str, bool]]:
        """What is asked of each of samples (batch, *data) in words, and whether it is there."""


class Panel(nn.Module):
    """Several networks as one judge: the mean of their probabilities, sharpened by one temperature.

    Args:
        members: each a `JudgeNetwork`; distances are measured in the first one's features.
    """

    temperature: Tensor

    def __init__(self, members: Sequence[nn.Module], num_prompts: int) -> None:
        super().__init__()
        self.least, self.capped, self.calibration_error = -math.log(num_prompts), True, math.nan
        self.members = nn.ModuleList(members)
        self.register_buffer("temperature", torch.ones(()))

    def features(self, x: Tensor) -> Tensor:
        """What distances are measured in, (batch, features)."""
        return cast(JudgeNetwork, self.members[0]).features(x)

    def forward(self, x: Tensor) -> Tensor:
        """Log-probability of each prompt, (batch, prompts)."""
        each = torch.stack([member(x) for member in self.members]).log_softmax(-1)
        mean = each.logsumexp(0) - math.log(len(self.members))
        return (mean / self.temperature).log_softmax(-1)

    def read(self, x: Tensor, prompt: Tensor) -> Opinion:
        """The log-probability of each one's prompt, and the most probable one."""
        log_probability = self(x)
        told = log_probability.argmax(1)
        return Opinion(log_probability.gather(1, prompt[:, None])[:, 0], told == prompt, told)

    @torch.no_grad()
    def calibrate(self, x: Tensor, prompt: Tensor) -> None:
        """Take the temperature at which real data that nobody was trained on are the most probable.

        Args:
            x: (N, *data); prompt: of each, (N,).

        Source: Guo et al. (arXiv 1706.04599).
        """
        told = self(x) * self.temperature
        losses = [F.nll_loss((told / each).log_softmax(-1), prompt) for each in _TEMPERATURES]
        self.temperature.copy_(_TEMPERATURES[torch.stack(losses).argmin()])
        self.calibration_error = calibration_error(
            torch.cat([self(part) for part in x.split(_READ_AT_ONCE)]), prompt
        )


def train_judge(
    data: Split,
    members: Sequence[nn.Module],
    num_prompts: int,
    num_updates: int,
    seed: int,
    moved: Moved | None = None,
) -> Panel:
    """Train a panel on the judge split, each member for itself, with noise on the data so that it is smooth
    near them.

    Labels are not smoothed: that would draw the features of a prompt together and leave little of what
    distances are for (arXiv 1906.02629). What it does for calibration, the temperature does.

    Args:
        moved: what becomes of data (batch, *data) before they are learned from, drawn from a generator.
    """
    panel = Panel(members, num_prompts)
    if not any(True for _ in panel.parameters()):  # those who know need not learn
        return panel.eval()
    optimizer = torch.optim.AdamW(panel.parameters(), _LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_updates)
    generator = generator_for(seed, "judge", "batches")
    with Progress("evaluation: judge", num_updates) as progress:
        for _ in range(num_updates):
            chosen = torch.randint(len(data), (_BATCH,), generator=generator)
            x, prompts = data.data[chosen], data.prompts[chosen]
            x = x if moved is None else moved(x, generator)
            noisy = x + _JITTER * torch.randn(x.shape, generator=generator)
            loss = torch.stack([F.cross_entropy(member(noisy), prompts) for member in panel.members]).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress.update(loss=float(loss.detach()) / len(members))
    return panel.eval().requires_grad_(False)


def calibration_error(log_probability: Tensor, prompt: Tensor) -> float:
    """Expected calibration error: how far a prediction's confidence is from how often it is right.

    Args:
        log_probability: of each prompt, (N, prompts).
        prompt: the right one, (N,).

    Returns:
        The mean over ten bins of equal width, each weighed by its share of the data (arXiv 1706.04599).
    """
    confidence, told = log_probability.exp().max(1)
    right = (told == prompt).float()
    bins = (confidence * _NUM_BINS).long().clamp(max=_NUM_BINS - 1)
    error = torch.zeros(())
    for each in bins.unique():
        inside = bins == each
        error += inside.float().mean() * (confidence[inside].mean() - right[inside].mean()).abs()
    return float(error)
