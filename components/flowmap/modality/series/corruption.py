"""Forecasts made worse: drifting away, shaken, or too steady."""

from __future__ import annotations

import torch
from torch import Tensor


def corrupt(x: Tensor, generator: torch.Generator) -> Tensor:
    """Each future (batch, values) with a drift, noise, and its swings made smaller, each of a strength of
    its own."""
    drift, noise, steady = torch.rand(3, len(x), 1, generator=generator)
    sign = torch.randint(2, (len(x), 1), generator=generator) * 2 - 1
    along = torch.linspace(0, 1, x.shape[1])
    shaken = x + 0.2 * noise * torch.randn(x.shape, generator=generator)
    worse: Tensor = shaken * (1 - 0.6 * steady) + sign * drift * along
    return worse
