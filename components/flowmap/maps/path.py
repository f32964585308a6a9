"""Affine paths x_t = a_t x_0 + b_t eps between data x_0 and standard normal noise eps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class PathSample:
    """A point on a path: the state x_t and the velocity of the straight line it lies on, both (batch,
    *data)."""

    x_t: Tensor
    velocity: Tensor


class AffinePath(Protocol):
    """The coefficients of a path for times of shape (batch,): a_0 = 1, b_0 = 0; b_1 is the noise's own
    scale."""

    def a(self, t: Tensor) -> Tensor:
        """How much data is left at time t."""

    def b(self, t: Tensor) -> Tensor:
        """How much noise has come in by time t."""

    def sample(self, x_0: Tensor, noise: Tensor, t: Tensor) -> PathSample:
        """x_t for data x_0 and standard normal noise, both (batch, *data)."""

    def noise(self, x_t: Tensor, velocity: Tensor, t: Tensor) -> Tensor:
        """E[eps given x_t], which a probability flow's velocity tells: the score is -E[eps] / b_t.

        It solves x = a E[x_0] + b E[eps] and v = a' E[x_0] + b' E[eps] for E[eps].
        """


class RectifiedFlow:
    """x_t = (1 - t) x_0 + t eps, whose velocity is v(x, t) = E[eps - x_0 given x_t = x].

    Source: rectified flow (arXiv 2209.03003), flow matching (arXiv 2210.02747), times as in MeanFlow.
    """

    def a(self, t: Tensor) -> Tensor:
        return 1 - t

    def b(self, t: Tensor) -> Tensor:
        return t

    def sample(self, x_0: Tensor, noise: Tensor, t: Tensor) -> PathSample:
        x_t = over_data(self.a(t), x_0) * x_0 + over_data(self.b(t), x_0) * noise
        return PathSample(x_t, noise - x_0)

    def noise(self, x_t: Tensor, velocity: Tensor, t: Tensor) -> Tensor:
        return x_t + over_data(self.a(t), x_t) * velocity


def over_data(t: Tensor, x: Tensor) -> Tensor:
    """Times of shape (batch,) in a shape that multiplies states of shape (batch, *data)."""
    return t.reshape(-1, *([1] * (x.dim() - 1)))
