"""The judge's networks for images: two convolutional ones, and one that sees all pixels at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowmap.prompts.facts import PromptFacts
from flowmap.prompts.heads import prompt_head

_NUM_FEATURES = 64


def make_judges(shape: Sequence[int], num_prompts: int, facts: PromptFacts | None = None) -> list[nn.Module]:
    """Fresh judges of images of a shape, (channels, height, width)."""
    kinds = (ImageJudge, ImageJudge, DenseJudge)
    return [kind(shape, num_prompts, facts) for kind in kinds]


def moved(x: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Images (batch, channels, height, width), each moved by up to so many pixels down and to the right, or
    back; what comes in is the edge, again and again."""
    num, channels, height, width = x.shape
    wide = F.pad(x, (most, most, most, most), mode="replicate")
    down, right = torch.randint(2 * most + 1, (2, num, 1), generator=generator)
    rows, columns = down + torch.arange(height), right + torch.arange(width)
    return wide[
        torch.arange(num)[:, None, None, None],
        torch.arange(channels)[:, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]


class ImageJudge(nn.Module):
    """Logits of the prompts, and the 64 features that distances are measured in; x (batch, channels, height,
    width)."""

    def __init__(self, shape: Sequence[int], num_prompts: int, facts: PromptFacts | None = None) -> None:
        super().__init__()
        channels, height, width = shape
        self.body = nn.Sequential(
            nn.Conv2d(channels, 24, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(24, 48, 3, padding=1, stride=2),
            nn.SiLU(),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(48 * ((height + 1) // 2) * ((width + 1) // 2), _NUM_FEATURES),
            nn.SiLU(),
        )
        self.head = prompt_head(_NUM_FEATURES, num_prompts, facts)

    def features(self, x: Tensor) -> Tensor:
        """Shape (batch, 64)."""
        found: Tensor = self.body(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (batch, prompts)."""
        logits: Tensor = self.head(self.body(x))
        return logits


class DenseJudge(nn.Sequential):
    """Logits of the prompts by layers that know of no neighbourhood; x (batch, channels, height, width)."""

    def __init__(self, shape: Sequence[int], num_prompts: int, facts: PromptFacts | None = None) -> None:
        super().__init__(
            nn.Flatten(),
            nn.Linear(math.prod(shape), 192),
            nn.SiLU(),
            nn.Dropout(0.4),
            nn.Linear(192, 96),
            nn.SiLU(),
            nn.Dropout(0.4),
            prompt_head(96, num_prompts, facts),
        )
