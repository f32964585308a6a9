"""The judge of points knows them: nothing is trained, and every figure of a model has an exact value."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flowmap.modality.points.mixture import SPREAD, centres
from flowmap.prompts.facts import PromptFacts


def make_judges(shape: Sequence[int], num_prompts: int, facts: PromptFacts | None = None) -> list[nn.Module]:
    """One judge, who is right."""
    return [ExactJudge()]


class ExactJudge(nn.Module):
    """log p(prompt | x) of the mixture, up to what all prompts have in common; x (batch, 2).

    Distances are measured in the plane itself.
    """

    centres: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centres", torch.from_numpy(centres()).float())

    def features(self, x: Tensor) -> Tensor:
        """The points, (batch, 2)."""
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (batch, 8)."""
        return -torch.cdist(x, self.centres).square() / (2 * SPREAD**2)
