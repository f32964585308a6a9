"""A rollout: K stochastic transitions, then one deterministic map to t = 0, without noise or log-probability."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flowmap.asfmc.gaussian import GaussianStep
from flowmap.asfmc.kernels import Kernel
from flowmap.maps import FlowMap


@dataclass(frozen=True)
class Transition:
    """x_t -> x_r as it was drawn, and the policy's distribution at that moment.

    Attributes:
        t, r: shape (batch,).
        x_t, x_r: shape (batch, *data).
        old: the distribution that x_r was drawn from.
    """

    t: Tensor
    r: Tensor
    x_t: Tensor
    x_r: Tensor
    old: GaussianStep


@dataclass(frozen=True)
class Rollout:
    """The transitions in the order they were drawn, and the samples x_0 (batch, *data) they end in."""

    transitions: tuple[Transition, ...]
    x_0: Tensor


@torch.no_grad()
def roll_out(flow_map: FlowMap, kernel: Kernel, prompt: Tensor, grid: Sequence[float], noise: Tensor) -> Rollout:
    """Follow the grid 1 = t_0 > ... > t_{K+1} = 0 for prompts (batch,).

    Args:
        noise: standard normal, shape (K + 1, batch, *data): the start, then that of each transition.
    """
    x, *rest = noise
    *steps, last = itertools.pairwise(grid)
    transitions = []
    for (t_value, r_value), drawn in zip(steps, rest, strict=True):
        t, r = x.new_full((len(x),), t_value), x.new_full((len(x),), r_value)
        step = kernel.step(flow_map, x, t, r, prompt)
        x_r = step.sample(drawn)
        transitions.append(Transition(t, r, x, x_r, step))
        x = x_r
    return Rollout(tuple(transitions), flow_map.endpoint(x, x.new_full((len(x),), last[0]), prompt))
