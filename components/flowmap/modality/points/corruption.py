"""Points made worse: pushed away from where they are."""

from __future__ import annotations

import torch
from torch import Tensor


def corrupt(x: Tensor, generator: torch.Generator) -> Tensor:
    """Each point moved by noise of a strength of its own, (batch, 2)."""
    strength = 0.1 + 0.6 * torch.rand(len(x), 1, generator=generator)
    return x + strength * torch.randn(x.shape, generator=generator)
