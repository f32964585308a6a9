"""What a candidate's gain is held against: what could be had without any training of this kind.

A model whose start noise is made smaller draws what is typical: more of it is recognised, and less of the
data is left. And who draws several samples and keeps the best, by the reward model, buys with map
evaluations what a candidate sells at one price.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from flowmap.evaluation.amounts import SCALES
from flowmap.evaluation.drawing import Drawing
from flowmap.evaluation.measure import Measured, Measurer
from flowmap.models.model import Model
from flowmap.progress import Progress
from flowmap.rewards.classifier import has_classifier, read_classifier

Choose = Callable[[Tensor, Tensor], Tensor]
DrawFrom = Callable[[Drawing], Iterator[tuple[Tensor, Tensor]]]
_AS_VARIED = 1e-3  # the same noise scaled in another order comes out as varied but for rounding


@dataclass(frozen=True)
class NoiseCurve:
    """A model with its start noise scaled down, by SCALES, on the same seeds."""

    measured: tuple[Measured, ...]

    @classmethod
    def of(
        cls,
        draw: DrawFrom,
        drawing: Drawing,
        measurer: Measurer,
        whole: Measured,
        progress: Progress | None = None,
    ) -> NoiseCurve:
        """Measure a model at every scale.

        Args:
            draw: its samples.
            whole: with its noise as it is, measured already.
            progress: of the other scales, among other things.
        """
        scaled = []
        for scale in SCALES[1:]:
            scaled.append(measurer.measure(draw(drawing.scaled(scale))))
            if progress is not None:
                progress.update()
        return cls((whole, *scaled))

    def score_at(self, diversity: float) -> Tensor:
        """The judge's score of each pair, at the best that less noise gives with at least that diversity.

        Between two scales it is theirs, mixed. A model that varies more than all of them is compared with
        the one whose noise is as it is; to one that varies less than all of them nothing can be compared,
        and it gets NaN.
        """
        spreads = [each.figures["diversity"] for each in self.measured]
        scores = [each.score for each in self.measured]
        enough = diversity * (1 - _AS_VARIED)
        found = [score for score, spread in zip(scores, spreads, strict=True) if spread >= enough]
        for (near, above), (far, below) in itertools.pairwise(zip(scores, spreads, strict=True)):
            if min(above, below) < diversity < max(above, below):
                part = (above - diversity) / (above - below)
                found.append(near * (1 - part) + far * part)
        if diversity < min(spreads) * (1 - _AS_VARIED):
            return torch.full_like(scores[0], math.nan)
        return max(found or scores[:1], key=lambda score: float(score.mean()))

    def rows(self) -> list[dict[str, float]]:
        """Every scale with its figures."""
        return [{"scale": scale, **each.figures} for scale, each in zip(SCALES, self.measured, strict=True)]


def best_of(
    model: Model, grid: tuple[float, ...], drawings: list[Drawing], choose: Choose
) -> Iterator[tuple[Tensor, Tensor]]:
    """Of several samples of each prompt the one that `choose` scores highest, in parts.

    Args:
        drawings: of the same prompts, from noise of their own.
        choose: scores of data (batch, *data) and prompts' indices (batch,).
    """
    for parts in zip(*(drawing.composed(model, grid) for drawing in drawings), strict=True):
        prompt = parts[0][1].to(parts[0][0].device)
        data = torch.stack([each for each, _ in parts])
        best = torch.stack([choose(each, prompt) for each in data]).argmax(0)
        yield data[best, torch.arange(len(prompt), device=data.device)], parts[0][1]


def chooser(trained: Path, measurer: Measurer) -> tuple[str, Choose]:
    """What the best is chosen by, with its name: the classifier that reward_training made, or else its
    preference model, or without data what GRPO was paid."""
    if not has_classifier(trained):
        name = "rewards that GRPO was paid" if measurer.training is None else "preference model"
        return name, torch.no_grad()(measurer.reward)
    classifier = read_classifier(trained)[0].to(measurer.device)

    @torch.no_grad()
    def probability(data: Tensor, prompt: Tensor) -> Tensor:
        chosen: Tensor = classifier(data).gather(1, prompt[:, None])[:, 0]
        return chosen

    return "classifier model", probability
