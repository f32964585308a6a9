"""The distribution of one transition."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from flowmap.maps import over_data


@dataclass(frozen=True)
class GaussianStep:
    """N(mean, std^2 I).

    Attributes:
        mean: shape (batch, *data).
        std: shape (batch,), free of the policy's parameters.
    """

    mean: Tensor
    std: Tensor

    def rows(self, chosen: slice) -> GaussianStep:
        """Those of a part of the batch."""
        return GaussianStep(self.mean[chosen], self.std[chosen])

    def sample(self, noise: Tensor) -> Tensor:
        """mean + std noise, shape (batch, *data), for standard normal noise of that shape."""
        return self.mean + over_data(self.std, noise) * noise

    def log_prob(self, x_r: Tensor) -> Tensor:
        """Log-density of x_r (batch, *data), summed over the dimensions of a state, shape (batch,)."""
        residual = ((x_r - self.mean) / over_data(self.std, x_r)).flatten(1)
        num_dims = residual.shape[1]
        return -0.5 * residual.square().sum(1) - num_dims * (self.std.log() + 0.5 * math.log(2 * math.pi))

    def kl(self, other: GaussianStep) -> Tensor:
        """KL(self || other) in nats, closed form, shape (batch,); the two may differ in mean and in std."""
        ratio = self.std / other.std
        distance = ((self.mean - other.mean) / over_data(other.std, self.mean)).flatten(1)
        num_dims = distance.shape[1]
        return 0.5 * distance.square().sum(1) + 0.5 * num_dims * (ratio.square() - 1 - 2 * ratio.log())
