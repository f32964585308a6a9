"""Deterministic sampling: what is shipped and evaluated."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from flowmap.maps.condition import Condition
from flowmap.maps.flow_map import FlowMap


def even_grid(num_evaluations: int, shift: float = 1.0) -> tuple[float, ...]:
    """1 = t_0 > ... > t_n = 0, evenly spaced.

    Args: shift: moves times to the noise, t to s t / (1 + (s - 1) t), as models of many pixels want it.

    Source: Stable Diffusion 3 (arXiv 2403.03206), equation 23.
    """
    even = (1 - step / num_evaluations for step in range(num_evaluations + 1))
    return tuple(shift * t / (1 + (shift - 1) * t) for t in even)


def grid_for(num_evaluations: int, trained: Sequence[float] | None, shift: float = 1.0) -> tuple[float, ...]:
    """The grid that a model was trained on where it has that many evaluations, `even_grid` otherwise."""
    if trained is not None and len(trained) - 1 == num_evaluations:
        return tuple(trained)
    return even_grid(num_evaluations, shift)


@torch.no_grad()
def compose(flow_map: FlowMap, noise: Tensor, condition: Condition, grid: Sequence[float]) -> Tensor:
    """Apply the map along a falling grid, one map evaluation for each interval.

    Args:
        noise: the states at t = 1, shape (batch, *data).
        condition: leaves (batch, ...).
        grid: times that fall from 1 to 0.

    Returns:
        The states at the grid's last time, shape (batch, *data).
    """
    x = noise
    for t, r in itertools.pairwise(grid):
        x = flow_map.transport(x, noise.new_full(x.shape[:1], t), noise.new_full(x.shape[:1], r), condition)
    return x


@torch.no_grad()
def euler(
    flow_map: FlowMap, noise: Tensor, condition: Condition, num_evaluations: int, shift: float = 1.0
) -> Tensor:
    """Euler steps of dx = v dt from t = 1 to 0 on `even_grid`: how the many-step baseline samples."""
    x = noise
    for t, r in itertools.pairwise(even_grid(num_evaluations, shift)):
        x = x - (t - r) * flow_map.velocity(x, noise.new_full((len(x),), t), condition)
    return x


@torch.no_grad()
def heun(
    flow_map: FlowMap, noise: Tensor, condition: Condition, num_evaluations: int, shift: float = 1.0
) -> Tensor:
    """Steps of Heun's second-order method from t = 1 to 0 on `even_grid`, two evaluations each.

    The number of evaluations has to be even, and the last one is at t = 0, where a map that predicts
    endpoints has no velocity. A step takes the mean of the velocities where it begins and where Euler's
    would end (Karras et al., arXiv 2206.00364, algorithm 1).
    """
    x = noise
    for t, r in itertools.pairwise(even_grid(num_evaluations // 2, shift)):
        here = flow_map.velocity(x, noise.new_full((len(x),), t), condition)
        ahead = x - (t - r) * here
        x = x - (t - r) / 2 * (here + flow_map.velocity(ahead, noise.new_full((len(x),), r), condition))
    return x
