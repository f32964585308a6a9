"""A flow map that is known exactly: Gaussian data N(mean, scale^2 I) on a rectified flow."""

import torch
from torch import Tensor

from flowmap.maps import Condition, RectifiedFlow, over_data


class GaussianMap:
    def __init__(self, mean: float = 0.7, scale: float = 0.4) -> None:
        self.mean, self.scale, self.path = mean, scale, RectifiedFlow()

    def variance(self, t: Tensor) -> Tensor:
        return ((1 - t) * self.scale) ** 2 + t**2

    def draw(self, num: int, num_dims: int, t: float, generator: torch.Generator) -> Tensor:
        """Samples of the marginal p_t, shape (num, num_dims)."""
        at = torch.tensor(t)
        noise = torch.randn(num, num_dims, generator=generator)
        return (1 - t) * self.mean + self.variance(at).sqrt() * noise

    def transport(self, x: Tensor, t: Tensor, r: Tensor, condition: Condition) -> Tensor:
        spread = (self.variance(r) / self.variance(t)).sqrt()
        return over_data((1 - r) * self.mean, x) + over_data(spread, x) * (
            x - over_data((1 - t) * self.mean, x)
        )

    def endpoint(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return self.transport(x, t, torch.zeros_like(t), condition)

    def velocity(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        slope = (t - (1 - t) * self.scale**2) / self.variance(t)
        return -self.mean + over_data(slope, x) * (x - over_data((1 - t) * self.mean, x))
