"""Figures of a set of samples in the eyes of the judge, taken while the samples are drawn, part by part.

    measured = measurer.measure(parts)       # parts: (data, prompts), a few hundred at a time
    measured.figures["fd_judge"], measured.score

Kept of each part are its features, scores and moments, and the few samples that are shown to people.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from flowmap.data.dataset import Split
from flowmap.evaluation.distances import Reach, cmmd, frechet_distance, kernel_distance
from flowmap.evaluation.drawing import in_parts
from flowmap.evaluation.features import Features
from flowmap.evaluation.judge import Explaining, Judge
from flowmap.evaluation.moments import NUM_FOLDS, Moments, MomentsSoFar
from flowmap.evaluation.shown import SIDE_PX, made_small

FIGURES = (
    "judge_accuracy",
    "judge_score",
    "judge_log_probability",
    "reward",
    "fd_judge",
    "kid_judge",
    "precision",
    "recall",
    "density",
    "coverage",
    "diversity",
    "copies",
)
_NUM_WORST = 32
_LARGE_PX, _COARSE_PX = 32, 16
_NEAR = 0.01  # the share of held-out real data that lie as near to training data as a copy does


@dataclass(frozen=True)
class Measured:
    """What is known of a set of N samples.

    Attributes:
        figures: every one of FIGURES, and `cmmd` where features are CLIP's; all NaN when a sample is not
            finite. NaN passes no criterion of the gate, so a model that has diverged is rejected and not a
            crash.
        features: the judge's, (N, features).
        right: whether the judge recognises each one's prompt, (N,).
        told: the prompt that the judge takes each for, (N,).
        score: the judge's log-probability of it, counted from chance up to what real data get, (N,).
        reward: the preference model's, of each sample, (N,).
        copied: whether it lies as near to training data as a copy, (N,).
        reach: who is within reach of whom, among as many samples as there are real ones to compare; None
            when a sample is not finite.
        moments: of the samples in which the judge recognises the prompt: others vary by what is wrong with
            them. Of pictures of more than 32 pixels on a side, of what they are when averaged to 16.
        shown: those samples that were asked for, (shown, *data); larger pictures made small.
        shown_right: whether the judge recognises the prompt in each of them, (shown,).
        shown_met: what is asked of each of them in words, and whether it is there, where the judge can say.
        worst: those that the judge gives the least probability, the worst first, (up to 32, *data), so too.
    """

    figures: dict[str, float]
    features: Tensor
    right: Tensor
    told: Tensor
    score: Tensor
    reward: Tensor
    copied: Tensor
    reach: Reach | None
    moments: Moments
    shown: Tensor
    shown_right: Tensor
    worst: Tensor
    shown_met: Sequence[Mapping[str, bool]] = ()


@dataclass(frozen=True)
class Measurer:
    """Everything that samples are measured with, on one device.

    Attributes:
        judge: trained on the judge split and calibrated on held-out data; of forecasts, what came.
        reward: the preference model that reward_training made; without data, what GRPO was paid.
        held_out: the judge's features of the real data that distances go to, (M, features).
        training: data that the models were trained on, flat, (T, dims); None where there are none.
        near: the distance to the nearest of them below which a sample counts as a copy.
        floor, ceiling: between which a log-probability counts: chance, and what real data get on average. A
            sample that reads better than real ones has left them, and has gained nothing. A forecast's part
            in a score has no such ends.
        num_compared: how many samples distances, recall and the like are taken of: they depend on the
            number, so that it is the same for every model and for real data.
        device: of both networks.
    """

    judge: Judge
    reward: nn.Module
    held_out: Tensor
    training: Tensor | None
    near: float
    floor: float
    ceiling: float
    num_compared: int
    device: torch.device

    @property
    def with_cmmd(self) -> bool:
        """Whether distances are measured in a CLIP model's features."""
        return isinstance(self.judge.features, Features) and self.judge.features.are_clip

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of those that are measured."""
        return (*FIGURES, "cmmd") if self.with_cmmd else FIGURES

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        judge: Judge,
        reward: nn.Module,
        training: Split | None,
        held_out: Split,
        num_samples: int,
        device: torch.device,
    ) -> Measurer:
        """With what real data say: the judge's features of them, and what it thinks of them."""
        reward.to(device)
        parts = [
            (x.to(device), prompt.to(device)) for x, prompt in in_parts(held_out.data, held_out.prompts)
        ]
        scores = torch.cat([judge.read(x, prompt).score for x, prompt in parts])
        flat, near = None, math.nan
        if training is not None:
            flat = training.data.flatten(1).to(device)
            nearest = torch.cat([_nearest(x.flatten(1), flat) for x, _ in parts])
            near = float(torch.quantile(nearest, _NEAR))
        real = float(scores.mean())
        return cls(
            judge,
            reward,
            held_out=torch.cat([judge.features(x) for x, _ in parts]).cpu(),
            training=flat,
            near=near,
            floor=min(judge.least, real),
            ceiling=real if judge.capped else math.inf,
            num_compared=min(num_samples, len(held_out if training is None else training)),
            device=device,
        )

    def measure(self, parts: Iterable[tuple[Tensor, Tensor]], shown: Tensor | None = None) -> Measured:
        """Measure samples that come in parts, each of data (batch, *data) and the prompts' indices (batch,).

        Args:
            shown: indices among all samples, rising, of those to keep for people.
        """
        seen = _Seen(shown if shown is not None else torch.empty(0, dtype=torch.long))
        for data, prompt in parts:
            x, asked, here = data.to(self.device), prompt.to(self.device), seen.shown_of(len(data))
            if len(here) and isinstance(self.judge, Explaining):
                seen.shown_met += self.judge.met(x[here.to(x.device)], asked[here.to(x.device)])
            seen.add(data.cpu(), prompt, self._look(x, asked))
        return seen.measured(self)

    @torch.no_grad()
    def _look(self, data: Tensor, prompt: Tensor) -> _Look:
        opinion = self.judge.read(data, prompt)
        return _Look(
            features=self.judge.features(data).cpu(),
            right=opinion.right.cpu(),
            told=opinion.told.cpu(),
            log_probability=opinion.score.cpu(),
            score=opinion.score.clamp(self.floor, self.ceiling).cpu(),
            reward=self.reward(data, prompt).cpu(),
            copied=self._copied(data.flatten(1)).cpu(),
        )

    def _copied(self, x: Tensor) -> Tensor:
        """Whether each x (batch, dims) lies as near to training data as a copy, (batch,)."""
        if self.training is None:
            return torch.zeros(len(x), dtype=torch.bool)
        return _nearest(x, self.training) < self.near


def _nearest(x: Tensor, training: Tensor) -> Tensor:
    """Distance of each x (batch, dims) to the nearest of the training data (T, dims)."""
    return torch.cdist(x, training).amin(1)


@dataclass(frozen=True)
class _Look:
    """What is seen of each sample."""

    features: Tensor
    right: Tensor
    told: Tensor
    log_probability: Tensor
    score: Tensor
    reward: Tensor
    copied: Tensor

    @classmethod
    def joined(cls, parts: list[_Look]) -> _Look:
        return cls(**{name: torch.cat([getattr(each, name) for each in parts]) for name in vars(parts[0])})


@dataclass
class _Seen:
    """What has been seen so far."""

    wanted: Tensor
    looks: list[_Look] = field(default_factory=list)
    shown: list[Tensor] = field(default_factory=list)
    shown_right: list[Tensor] = field(default_factory=list)
    shown_met: list[Mapping[str, bool]] = field(default_factory=list)
    num: int = 0
    is_finite: bool = True
    sums: MomentsSoFar = field(default_factory=MomentsSoFar)
    worst: tuple[Tensor, Tensor] | None = None

    def shown_of(self, num: int) -> Tensor:
        """Which of the next samples, so many, are shown."""
        return self.wanted[(self.wanted >= self.num) & (self.wanted < self.num + num)] - self.num

    def add(self, data: Tensor, prompt: Tensor, look: _Look) -> None:
        self.shown_here = here = (
            self.wanted[(self.wanted >= self.num) & (self.wanted < self.num + len(data))] - self.num
        )
        self.shown.append(made_small(data[here], SIDE_PX))
        self.shown_right.append(look.right[here])
        fold = (self.num + torch.arange(len(data))) % NUM_FOLDS
        x = data if max(data.shape[2:], default=0) <= _LARGE_PX else made_small(data, _COARSE_PX)
        self.sums.add(x.flatten(1).double()[look.right], prompt.cpu()[look.right], fold[look.right])
        self.num += len(data)
        self.is_finite &= bool(data.isfinite().all())
        self.looks.append(look)
        self._keep_worst(data, look.log_probability)

    def _keep_worst(self, data: Tensor, log_probability: Tensor) -> None:
        data = made_small(data, SIDE_PX)
        if self.worst is not None:
            data, log_probability = (
                torch.cat([self.worst[0], data]),
                torch.cat([self.worst[1], log_probability]),
            )
        order = log_probability.argsort(stable=True)[:_NUM_WORST]
        self.worst = data[order], log_probability[order]

    def measured(self, measurer: Measurer) -> Measured:
        assert self.worst is not None
        look, moments = _Look.joined(self.looks), self.sums.moments()
        figures, reach = dict.fromkeys(measurer.figures, math.nan), None
        if self.is_finite:
            compared = np.linspace(0, self.num - 1, min(measurer.num_compared, self.num)).astype(int)
            fake, real = look.features.double().numpy()[compared], measurer.held_out.double().numpy()
            reach = Reach.of(real, fake)
            figures = {
                "judge_accuracy": float(look.right.float().mean()),
                "judge_score": float(look.score.mean()),
                "judge_log_probability": float(look.log_probability.mean()),
                "reward": float(look.reward.mean()),
                "fd_judge": frechet_distance(fake, real),
                "kid_judge": kernel_distance(fake, real),
                **reach.figures(),
                "diversity": moments.spread(),
                "copies": float(look.copied.float().mean()),
                **({"cmmd": cmmd(fake, real)} if measurer.with_cmmd else {}),
            }
        return Measured(
            figures=figures,
            features=look.features,
            right=look.right,
            told=look.told,
            score=look.score,
            reward=look.reward,
            copied=look.copied,
            reach=reach,
            moments=moments,
            shown=torch.cat(self.shown),
            shown_right=torch.cat(self.shown_right),
            shown_met=self.shown_met,
            worst=self.worst[0],
        )
