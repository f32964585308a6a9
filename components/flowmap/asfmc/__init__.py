"""Anchored stochastic flow-map composition: a deterministic map turned into a policy with a likelihood.

Each transition t -> r is a Gaussian N(m_theta(x_t), s^2 I) around an anchor that the map computes, s free of
theta, while x_r keeps the marginal p_r that the map expects. Source: Flow-Map GRPO (arXiv 2607.00535).
"""

from flowmap.asfmc.gaussian import GaussianStep
from flowmap.asfmc.kernels import EndpointAnchor, ExactLocalAnchor, Kernel, LocalAnchor
from flowmap.asfmc.policy import Policy, kernel_named
from flowmap.asfmc.rollout import Rollout, Transition, roll_out

__all__ = [
    "EndpointAnchor",
    "ExactLocalAnchor",
    "GaussianStep",
    "Kernel",
    "LocalAnchor",
    "Policy",
    "Rollout",
    "Transition",
    "kernel_named",
    "roll_out",
]
