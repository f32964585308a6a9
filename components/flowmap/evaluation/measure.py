"""Figures of a set of samples in the eyes of the judge, taken while the samples are drawn, part by part.

    measured = measurer.measure(parts)       # parts: (data, prompts), a few hundred at a time
    measured.figures["fd_judge"], measured.log_probability

Kept of each part are its features, scores and moments, and the few samples that are shown to people.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from flowmap.evaluation.distances import frechet_distance, kernel_distance, precision_recall
from flowmap.modality.protocols import JudgeNetwork
from flowmap.rewards.preference import PreferenceNetwork

FIGURES = (
    "judge_accuracy",
    "judge_log_probability",
    "reward",
    "fd_judge",
    "kid_judge",
    "precision",
    "recall",
    "density",
    "coverage",
    "diversity",
)
_NUM_WORST = 32


@dataclass(frozen=True)
class Measured:
    """What is known of a set of N samples.

    Attributes:
        figures: every one of FIGURES; all NaN when a sample is not finite. NaN passes no criterion of
            the gate, so a model that has diverged is rejected and not a crash.
        features: the judge's, (N, features).
        log_probability, reward: the judge's and the preference model's, of each sample, (N,).
        shown: those samples that were asked for, (shown, *data).
        shown_right: whether the judge recognises the prompt in each of them, (shown,).
        worst: those that the judge gives the least probability, the worst first, (up to 32, *data).
    """

    figures: dict[str, float]
    features: Tensor
    log_probability: Tensor
    reward: Tensor
    shown: Tensor
    shown_right: Tensor
    worst: Tensor


@dataclass(frozen=True)
class Measurer:
    """Everything that samples are measured with, on one device.

    Attributes:
        judge: trained on the judge split.
        reward: the preference model that reward_training made.
        held_out: the judge's features of the real data that distances go to, (N, features).
        num_prompts: prompts are integers below it.
        device: of both networks.
    """

    judge: JudgeNetwork
    reward: PreferenceNetwork
    held_out: Tensor
    num_prompts: int
    device: torch.device

    def measure(self, parts: Iterable[tuple[Tensor, Tensor]], shown: Tensor | None = None) -> Measured:
        """Measure samples that come in parts, each of data (batch, *data) and the prompts' indices (batch,).

        Args:
            shown: indices among all samples, rising, of those to keep for people.
        """
        seen = _Seen(self.num_prompts, shown if shown is not None else torch.empty(0, dtype=torch.long))
        for data, prompt in parts:
            seen.add(data.cpu(), prompt, *self._look(data.to(self.device), prompt.to(self.device)))
        return seen.measured(self.held_out)

    @torch.no_grad()
    def _look(self, data: Tensor, prompt: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features, whether the judge is right, its log-probability, and the reward, on the CPU."""
        told = self.judge(data)
        log_probability = told.log_softmax(1).gather(1, prompt[:, None])[:, 0]
        found = (
            self.judge.features(data),
            told.argmax(1) == prompt,
            log_probability,
            self.reward(data, prompt),
        )
        features, right, log_probability, reward = (each.cpu() for each in found)
        return features, right, log_probability, reward


@dataclass
class _Seen:
    """What has been seen so far."""

    num_prompts: int
    wanted: Tensor
    rows: list[tuple[Tensor, ...]] = field(default_factory=list)
    shown: list[Tensor] = field(default_factory=list)
    shown_right: list[Tensor] = field(default_factory=list)
    num: int = 0
    is_finite: bool = True
    moments: Tensor | None = None
    worst: tuple[Tensor, Tensor] | None = None

    def add(
        self,
        data: Tensor,
        prompt: Tensor,
        features: Tensor,
        right: Tensor,
        log_probability: Tensor,
        reward: Tensor,
    ) -> None:
        here = self.wanted[(self.wanted >= self.num) & (self.wanted < self.num + len(data))] - self.num
        self.shown.append(data[here])
        self.shown_right.append(right[here])
        self.num += len(data)
        self.is_finite &= bool(data.isfinite().all())
        self.rows.append((features, right, log_probability, reward))
        self._add_moments(data.flatten(1).double(), prompt.cpu())
        self._keep_worst(data, log_probability)

    def _add_moments(self, x: Tensor, prompt: Tensor) -> None:
        """Number, sum and sum of squares of each prompt's samples, in every dimension."""
        each = torch.stack([torch.ones_like(x), x, x.square()], 1)
        if self.moments is None:
            self.moments = torch.zeros(self.num_prompts, *each.shape[1:], dtype=torch.double)
        self.moments.index_add_(0, prompt, each)

    def _keep_worst(self, data: Tensor, log_probability: Tensor) -> None:
        if self.worst is not None:
            data, log_probability = (
                torch.cat([self.worst[0], data]),
                torch.cat([self.worst[1], log_probability]),
            )
        order = log_probability.argsort(stable=True)[:_NUM_WORST]
        self.worst = data[order], log_probability[order]

    def measured(self, held_out: Tensor) -> Measured:
        assert self.worst is not None
        features, right, log_probability, reward = (torch.cat(each) for each in zip(*self.rows, strict=True))
        figures = dict.fromkeys(FIGURES, math.nan)
        if self.is_finite:
            fake, real = features.double().numpy(), held_out.double().numpy()
            figures = {
                "judge_accuracy": float(right.float().mean()),
                "judge_log_probability": float(log_probability.mean()),
                "reward": float(reward.mean()),
                "fd_judge": frechet_distance(fake, real),
                "kid_judge": kernel_distance(fake, real),
                **precision_recall(real, fake),
                "diversity": self._diversity(),
            }
        return Measured(
            figures,
            features,
            log_probability,
            reward,
            torch.cat(self.shown),
            torch.cat(self.shown_right),
            self.worst[0],
        )

    def _diversity(self) -> float:
        """Mean standard deviation of a dimension within a prompt, over the prompts that have samples."""
        assert self.moments is not None
        num, total, squares = self.moments[self.moments[:, 0, 0] > 0].unbind(1)
        variance = squares / num - (total / num).square()
        return float(variance.clamp(min=0).sqrt().mean(1).mean())
