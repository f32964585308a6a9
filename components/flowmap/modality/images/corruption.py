"""Images made worse: noise, blur, a missing patch, two in one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


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
