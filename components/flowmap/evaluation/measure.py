"""Figures of a set of samples in the eyes of the judge."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from flowmap.data.dataset import Split
from flowmap.evaluation.judge import Judge
from flowmap.evaluation.metrics import Array, diversity, frechet_distance, kernel_distance, precision_recall
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


@dataclass(frozen=True)
class Measurer:
    """Everything that samples are measured with.

    Attributes:
        judge: trained on the judge split.
        reward: the preference model that the candidate was trained against.
        held_out: the real images that distances go to.
    """

    judge: Judge
    reward: PreferenceNetwork
    held_out: Split

    @torch.no_grad()
    def measure(self, x: Tensor, prompt: Tensor) -> dict[str, float]:
        """Every figure of samples x (batch, *data) for prompts (batch,); all NaN when a sample is not finite.

        NaN passes no criterion of the gate, so a model that has diverged is rejected and not a crash.
        """
        if not bool(x.isfinite().all()):
            return dict.fromkeys(FIGURES, math.nan)
        real, fake = self._features(self.held_out.images), self._features(x)
        log_probability = self.log_probability(x, prompt)
        return {
            "judge_accuracy": float((self.judge(x).argmax(1) == prompt).float().mean()),
            "judge_log_probability": float(log_probability.mean()),
            "reward": float(self.reward(x, prompt).mean()),
            "fd_judge": frechet_distance(fake, real),
            "kid_judge": kernel_distance(fake, real),
            **precision_recall(real, fake),
            "diversity": diversity(x.flatten(1).double().numpy(), prompt.numpy()),
        }

    @torch.no_grad()
    def log_probability(self, x: Tensor, prompt: Tensor) -> Tensor:
        """The judge's log-probability of each sample's prompt, shape (batch,)."""
        found: Tensor = self.judge(x).log_softmax(1).gather(1, prompt[:, None])[:, 0]
        return found

    def _features(self, x: Tensor) -> Array:
        found: Array = self.judge.features(x).double().numpy()
        return found
