"""The pairs a preference model learns from: the user's own, or real images against what corruption makes of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

_JITTER = 0.2


@dataclass(frozen=True)
class Pairs:
    """Pairs of images of one prompt each, the better first. Without `worse`, the worse is the better one corrupted.

    Attributes:
        better, worse: shape (N, channels, height, width).
        prompts: shape (N,).
    """

    better: Tensor
    worse: Tensor | None
    prompts: Tensor

    def __len__(self) -> int:
        return len(self.prompts)

    def split(self, num_first: int) -> tuple[Pairs, Pairs]:
        """The first few, and the rest."""
        worse = (None, None) if self.worse is None else (self.worse[:num_first], self.worse[num_first:])
        return (
            Pairs(self.better[:num_first], worse[0], self.prompts[:num_first]),
            Pairs(self.better[num_first:], worse[1], self.prompts[num_first:]),
        )

    def draw(self, num: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """A batch (better, worse, prompts) for training, with noise on the images so that they can't be memorised."""
        chosen = torch.randint(len(self), (num,), generator=generator)
        better = self.better[chosen]
        better = better + _JITTER * torch.randn(better.shape, generator=generator)
        if self.worse is None:
            return better, corrupt(better, generator), self.prompts[chosen]
        worse = self.worse[chosen]
        return better, worse + _JITTER * torch.randn(worse.shape, generator=generator), self.prompts[chosen]


def corrupt(x: Tensor, generator: torch.Generator) -> Tensor:
    """Noise, blur, erase a patch of, or mix with another, each image at a strength of its own.

    Args:
        x: images in [-1, 1], shape (batch, channels, height, width).

    Returns:
        The same shape.
    """
    num, _, height, width = x.shape
    kind = torch.randint(4, (num,), generator=generator)
    strength = torch.rand(num, 1, 1, 1, generator=generator)
    noisy = x + (0.1 + 0.9 * strength) * torch.randn(x.shape, generator=generator)
    soft = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    blurred = x + (0.3 + 0.7 * strength) * (soft - x)
    erased = torch.where(_patches(num, height, width, generator), -1.0, x)
    mixed = x + (0.2 + 0.4 * strength) * (x[torch.randperm(num, generator=generator)] - x)
    return torch.stack([noisy, blurred, erased, mixed])[kind, torch.arange(num)]


def other_prompt(prompt: Tensor, num_prompts: int, generator: torch.Generator) -> Tensor:
    """For each prompt another one, each of the others equally likely; shape (batch,)."""
    return (prompt + torch.randint(1, num_prompts, prompt.shape, generator=generator)) % num_prompts


def _patches(num: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """A mask (num, 1, height, width), True in a random rectangle of half the height and half the width."""
    inside = torch.ones(num, 1, height, width, dtype=torch.bool)
    for size, dimension in ((height, 2), (width, 3)):
        length = max(1, size // 2)
        start = torch.randint(size - length + 1, (num, 1, 1, 1), generator=generator)
        shape = [1, 1, 1, 1]
        shape[dimension] = size
        position = torch.arange(size).view(shape)
        inside = inside & (position >= start) & (position < start + length)
    return inside
