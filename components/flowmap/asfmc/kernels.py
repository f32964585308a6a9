"""Three anchors. Each keeps, exactly or to first order, the marginal p_r that the map expects at time r.

    step = ExactLocalAnchor(distance=0.05).step(flow_map, x_t, t, r, condition)      # a GaussianStep

States x_t have shape (batch, *data), times t > r > 0 shape (batch,), conditions with leaves (batch, ...).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from flowmap.asfmc.gaussian import GaussianStep
from flowmap.maps import Condition, FlowMap, over_data

_REST_FLOOR = 0.05


class Kernel(Protocol):
    """How a deterministic map becomes a stochastic transition."""

    def step(
        self, flow_map: FlowMap, x_t: Tensor, t: Tensor, r: Tensor, condition: Condition
    ) -> GaussianStep:
        """The distribution of x_r given x_t, 0 < r < t."""


@dataclass(frozen=True)
class EndpointAnchor:
    """N(a_r x0_hat, b_r^2 I) with x0_hat = psi_{t->0}(x_t): the path's own conditional, so p_r is kept
    exactly.

    Source: Flow-Map GRPO (arXiv 2607.00535), endpoint anchor.

    Args:
        composed: x0_hat through r, psi_{r->0} after psi_{t->r}: two map evaluations, and the gradient goes
            through the map that is shipped. Otherwise psi_{t->0} at once: one evaluation.
    """

    composed: bool = False

    def step(
        self, flow_map: FlowMap, x_t: Tensor, t: Tensor, r: Tensor, condition: Condition
    ) -> GaussianStep:
        if self.composed:
            anchor = flow_map.endpoint(flow_map.transport(x_t, t, r, condition), r, condition)
        else:
            anchor = flow_map.endpoint(x_t, t, condition)
        return GaussianStep(over_data(flow_map.path.a(r), x_t) * anchor, flow_map.path.b(r))


@dataclass(frozen=True)
class LocalAnchor:
    """N(xbar + h s(xbar, r), 2 h I) with xbar = psi_{t->r}(x_t), the score s and h = e L^2 b_r / a_r.

    One Langevin step at time r. On a rectified flow the mean is xbar - e L^2 [xbar / (1-r) + v(xbar, r)]
    and the variance 2 e L^2 r / (1-r), as the paper has them. It keeps p_r to first order in e; for
    Gaussian data the variance comes out too large by the factor 1 + (h / var_r)^2. a_r has a floor of .05
    below it. Two map evaluations. Source: Flow-Map GRPO (arXiv 2607.00535), local anchor.

    Args:
        epsilon: e, the step's size; noise: L, its noise level.
    """

    epsilon: float = 0.03
    noise: float = 0.7

    def step(
        self, flow_map: FlowMap, x_t: Tensor, t: Tensor, r: Tensor, condition: Condition
    ) -> GaussianStep:
        path, there = flow_map.path, flow_map.transport(x_t, t, r, condition)
        noise = path.noise(there, flow_map.velocity(there, r, condition), r)
        per_noise = self.epsilon * self.noise**2 / path.a(r).clamp(min=_REST_FLOOR)  # h / b_r
        return GaussianStep(there - over_data(per_noise, there) * noise, (2 * per_noise * path.b(r)).sqrt())


@dataclass(frozen=True)
class ExactLocalAnchor:
    """N((a_r/a_q) x_q, (b_r^2 - (a_r/a_q)^2 b_q^2) I) with x_q = psi_{t->q}(x_t), q = max(r - distance, 0).

    The path's own transition from q up to r, so p_r is kept exactly. A distance of r gives EndpointAnchor,
    one of 0 the deterministic map.

    Args:
        distance: from r down to the anchor's time q.
        composed: reach q through r, psi_{r->q} after psi_{t->r}: two map evaluations, and the gradient goes
            through the map that is shipped. Otherwise the pair (t, q) at once.
    """

    distance: float
    composed: bool = False

    def step(
        self, flow_map: FlowMap, x_t: Tensor, t: Tensor, r: Tensor, condition: Condition
    ) -> GaussianStep:
        q = (r - self.distance).clamp(min=0)
        if self.composed:
            x_q = flow_map.transport(flow_map.transport(x_t, t, r, condition), r, q, condition)
        else:
            x_q = flow_map.transport(x_t, t, q, condition)
        path = flow_map.path
        ratio = path.a(r) / path.a(q)
        variance = path.b(r).square() - (ratio * path.b(q)).square()
        return GaussianStep(over_data(ratio, x_q) * x_q, torch.sqrt(variance))
