"""A model drawn as it was trained: some of its transitions stochastic, the rest the map itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flowmap.asfmc.kernels import EndpointAnchor, ExactLocalAnchor, Kernel, LocalAnchor
from flowmap.asfmc.rollout import roll_out
from flowmap.maps import Condition, FlowMap


@dataclass(frozen=True)
class Policy:
    """A kernel, and the intervals of a grid, from 0, that it is used in."""

    kernel: Kernel
    window: tuple[int, ...]

    @torch.no_grad()
    def draw(self, flow_map: FlowMap, noise: Tensor, condition: Condition, grid: Sequence[float]) -> Tensor:
        """States at t = 0, (batch, *data).

        Args:
            noise: the start's and that of each transition in the window, (batch, 1 + window, *data).
            grid: times from 1 to 0.
        """
        start, *others = noise.unbind(1)
        given = dict(zip(self.window, others, strict=True))
        each = [given.get(index, torch.zeros_like(start)) for index in range(len(grid) - 2)]
        stacked = torch.stack([start, *each])
        return roll_out(flow_map, self.kernel, condition, grid, stacked, self.window).x_0


def kernel_named(name: str, anchor_distance: float, composed: bool) -> Kernel:
    """The kernel that settings, or a model's facts, name."""
    if name == "endpoint":
        return EndpointAnchor(composed)
    if name == "local":
        return LocalAnchor()
    return ExactLocalAnchor(anchor_distance, composed)
