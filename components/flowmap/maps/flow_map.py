"""What rollout, objective and evaluation see of a model.

States x have shape (batch, *data), times (batch,), and a condition's leaves (batch, ...).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import torch
from torch import Tensor

from flowmap.maps.condition import Condition
from flowmap.maps.path import AffinePath, RectifiedFlow, over_data

TwoTimeNetwork = Callable[[Tensor, Tensor, Tensor, Condition], Tensor]
OneTimeNetwork = Callable[[Tensor, Tensor, Condition], Tensor]


class FlowMap(Protocol):
    """A map psi_{t->r} along the probability flow of a path."""

    @property
    def path(self) -> AffinePath:
        """The path that the map belongs to."""

    def transport(self, x: Tensor, t: Tensor, r: Tensor, condition: Condition) -> Tensor:
        """psi_{t->r}(x) for r <= t, shape (batch, *data)."""

    def endpoint(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """psi_{t->0}(x), the data point that x flows to."""

    def velocity(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """v(x, t), the probability flow's velocity."""


class TwoTimeMap:
    """The map of an average velocity u: psi_{t->r}(x) = x - (t - r) u(x, r, t), and v(x, t) = u(x, t, t).

    Args:
        network: `network(x, t, r, condition)` gives u, shape (batch, *data).

    Source: MeanFlow (arXiv 2505.13447), equations 3 and 12.
    """

    def __init__(self, network: TwoTimeNetwork) -> None:
        self.network = network
        self.path: AffinePath = RectifiedFlow()

    def transport(self, x: Tensor, t: Tensor, r: Tensor, condition: Condition) -> Tensor:
        return x - over_data(t - r, x) * self.network(x, t, r, condition)

    def endpoint(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return self.transport(x, t, torch.zeros_like(t), condition)

    def velocity(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return self.network(x, t, t, condition)


class OneTimeMap:
    """The map of a network that knows one time only: it gives the velocity, or the endpoint, of a rectified
    flow.

    v(x, t) = (x - x0) / t and x0 = x - t v(x, t) are each other's inverse, and psi_{t->r}(x) = x - (t - r)
    v(x, t) goes the straight way to x0: what a consistency model, a distilled "turbo" model, or plain flow
    matching can say.

    Args:
        network: `network(x, t, condition)`, shape (batch, *data).
        predicts: what it gives. An endpoint's velocity is taken at t > 0 only.

    Source: consistency models (arXiv 2303.01469); the straight step is DDIM's (arXiv 2010.02502) on this
    path.
    """

    def __init__(self, network: OneTimeNetwork, predicts: Literal["velocity", "endpoint"]) -> None:
        self.network, self.predicts = network, predicts
        self.path: AffinePath = RectifiedFlow()

    def transport(self, x: Tensor, t: Tensor, r: Tensor, condition: Condition) -> Tensor:
        return x - over_data(t - r, x) * self.velocity(x, t, condition)

    def endpoint(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        if self.predicts == "endpoint":
            return self.network(x, t, condition)
        return x - over_data(t, x) * self.network(x, t, condition)

    def velocity(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        if self.predicts == "velocity":
            return self.network(x, t, condition)
        return (x - self.network(x, t, condition)) / over_data(t, x)
