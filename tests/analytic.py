"""A flow map that is known exactly: Gaussian data N(mean, scale^2 I), on a path of one's choice."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from flowmap.maps import Condition, RectifiedFlow, over_data
from flowmap.maps.path import AffinePath, PathSample


class TrigFlow:
    """x_t = cos(pi t / 2) x_0 + sin(pi t / 2) eps.

    Source: sCM (arXiv 2410.11081), for data of scale one.
    """

    def a(self, t: Tensor) -> Tensor:
        return torch.cos(math.pi / 2 * t)

    def b(self, t: Tensor) -> Tensor:
        return torch.sin(math.pi / 2 * t)

    def sample(self, x_0: Tensor, noise: Tensor, t: Tensor) -> PathSample:
        a, b = over_data(self.a(t), x_0), over_data(self.b(t), x_0)
        return PathSample(a * x_0 + b * noise, math.pi / 2 * (a * noise - b * x_0))

    def noise(self, x_t: Tensor, velocity: Tensor, t: Tensor) -> Tensor:
        a, b = over_data(self.a(t), x_t), over_data(self.b(t), x_t)
        return b * x_t + a * velocity / (math.pi / 2)


class GaussianMap:
    def __init__(self, mean: float = 0.7, scale: float = 0.4, path: AffinePath | None = None) -> None:
        self.mean, self.scale, self.path = mean, scale, path or RectifiedFlow()

    def variance(self, t: Tensor) -> Tensor:
        return (self.path.a(t) * self.scale) ** 2 + self.path.b(t) ** 2

    def draw(self, num: int, num_dims: int, t: float, generator: torch.Generator) -> Tensor:
        """Samples of the marginal p_t, shape (num, num_dims)."""
        at = torch.tensor(t)
        noise = torch.randn(num, num_dims, generator=generator)
        return self.path.a(at) * self.mean + self.variance(at).sqrt() * noise

    def transport(self, x: Tensor, t: Tensor, r: Tensor, condition: Condition) -> Tensor:
        spread = (self.variance(r) / self.variance(t)).sqrt()
        return over_data(self.path.a(r) * self.mean, x) + over_data(spread, x) * (
            x - over_data(self.path.a(t) * self.mean, x)
        )

    def endpoint(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return self.transport(x, t, torch.zeros_like(t), condition)

    def velocity(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The derivative of `transport` by r, at r = t."""
        a, slope_a = _with_slope(self.path.a, t)
        variance, slope_variance = _with_slope(self.variance, t)
        mean = over_data(a * self.mean, x)
        return over_data(slope_a * self.mean, x) + over_data(0.5 * slope_variance / variance, x) * (x - mean)


def _with_slope(function: Callable[[Tensor], Tensor], t: Tensor) -> tuple[Tensor, Tensor]:
    value, slope = torch.func.jvp(function, (t,), (torch.ones_like(t),))[:2]
    return value, slope
