"""What rollout, objective and evaluation see of a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from flowmap.maps.path import AffinePath, RectifiedFlow, over_data

Network = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class FlowMap(Protocol):
    """A map psi_{t->r} along the probability flow of a path; x (batch, *data), times (batch,), prompt (batch,)."""

    @property
    def path(self) -> AffinePath:
        """The path that the map belongs to."""

    def transport(self, x: Tensor, t: Tensor, r: Tensor, prompt: Tensor) -> Tensor:
        """psi_{t->r}(x) for r <= t, shape (batch, *data)."""

    def endpoint(self, x: Tensor, t: Tensor, prompt: Tensor) -> Tensor:
        """psi_{t->0}(x), the data point that x flows to."""

    def velocity(self, x: Tensor, t: Tensor, prompt: Tensor) -> Tensor:
        """v(x, t), the probability flow's velocity."""


class TwoTimeMap:
    """The map of an average velocity u: psi_{t->r}(x) = x - (t - r) u(x, r, t), and v(x, t) = u(x, t, t).

    Args:
        network: `network(x, t, r, prompt)` gives u, shape (batch, *data).

    Source: MeanFlow (arXiv 2505.13447), equations 3 and 12.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.path: AffinePath = RectifiedFlow()

    def transport(self, x: Tensor, t: Tensor, r: Tensor, prompt: Tensor) -> Tensor:
        return x - over_data(t - r, x) * self.network(x, t, r, prompt)

    def endpoint(self, x: Tensor, t: Tensor, prompt: Tensor) -> Tensor:
        return self.transport(x, t, torch.zeros_like(t), prompt)

    def velocity(self, x: Tensor, t: Tensor, prompt: Tensor) -> Tensor:
        return self.network(x, t, t, prompt)
