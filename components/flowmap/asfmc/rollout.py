"""A rollout: stochastic transitions in a window of the grid, the map itself everywhere else.

The last interval, to t = 0, is never stochastic: it has neither noise nor log-probability.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flowmap.asfmc.gaussian import GaussianStep
from flowmap.asfmc.kernels import Kernel
from flowmap.maps import Condition, FlowMap


@dataclass(frozen=True)
class Transition:
    """x_t -> x_r as it was drawn, and the policy's distribution at that moment.

    Attributes:
        t, r: shape (batch,).
        x_t, x_r: shape (batch, *data).
        old: the distribution that x_r was drawn from.
        index: which interval of the grid it is, from 0.
    """

    t: Tensor
    r: Tensor
    x_t: Tensor
    x_r: Tensor
    old: GaussianStep
    index: int = 0

    def rows(self, chosen: slice) -> Transition:
        """Those of a part of the batch."""
        return Transition(
            self.t[chosen],
            self.r[chosen],
            self.x_t[chosen],
            self.x_r[chosen],
            self.old.rows(chosen),
            self.index,
        )

    @classmethod
    def joined(cls, parts: Sequence[Transition]) -> Transition:
        """One transition of a batch that was drawn in parts."""
        t, r, x_t, x_r = (
            torch.cat([getattr(part, name) for part in parts]) for name in ("t", "r", "x_t", "x_r")
        )
        mean, std = torch.cat([part.old.mean for part in parts]), torch.cat([part.old.std for part in parts])
        return cls(t, r, x_t, x_r, GaussianStep(mean, std), parts[0].index)


@dataclass(frozen=True)
class Rollout:
    """The transitions in the order they were drawn, and the samples x_0 (batch, *data) they end in."""

    transitions: tuple[Transition, ...]
    x_0: Tensor

    @classmethod
    def joined(cls, parts: Sequence[Rollout]) -> Rollout:
        """One rollout of a batch that was drawn in parts."""
        transitions = zip(*(part.transitions for part in parts), strict=True)
        return cls(tuple(map(Transition.joined, transitions)), torch.cat([part.x_0 for part in parts]))


@torch.no_grad()
def roll_out(
    flow_map: FlowMap,
    kernel: Kernel,
    condition: Condition,
    grid: Sequence[float],
    noise: Tensor,
    window: Container[int] | None = None,
) -> Rollout:
    """Follow the grid 1 = t_0 > ... > t_{K+1} = 0 for conditions with leaves (batch, ...).

    Args:
        noise: standard normal, shape (K + 1, batch, *data): the start, then that of each transition.
        window: the intervals, from 0, that are stochastic; None is all K.
    """
    x, *rest = noise
    *steps, last = itertools.pairwise(grid)
    transitions = []
    for index, ((t_value, r_value), drawn) in enumerate(zip(steps, rest, strict=True)):
        t, r = x.new_full(x.shape[:1], t_value), x.new_full(x.shape[:1], r_value)
        if window is not None and index not in window:
            x = flow_map.transport(x, t, r, condition)
            continue
        step = kernel.step(flow_map, x, t, r, condition)
        x_r = step.sample(drawn)
        transitions.append(Transition(t, r, x, x_r, step, index))
        x = x_r
    return Rollout(tuple(transitions), flow_map.endpoint(x, x.new_full(x.shape[:1], last[0]), condition))
