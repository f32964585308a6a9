"""Paths from data to noise, flow maps along them, the objectives that train them, deterministic sampling.

Time runs from noise to data downwards: t = 1 is noise, t = 0 is data. States have shape (batch, *data),
times (batch,), and the leaves of a condition (batch, ...).
"""

from flowmap.maps.condition import Condition
from flowmap.maps.flow_map import FlowMap, OneTimeMap, TwoTimeMap
from flowmap.maps.objectives import flow_matching_loss, mean_flow_loss
from flowmap.maps.path import AffinePath, PathSample, RectifiedFlow, over_data
from flowmap.maps.sampling import compose, euler, even_grid, grid_for, heun

__all__ = [
    "AffinePath",
    "Condition",
    "FlowMap",
    "OneTimeMap",
    "PathSample",
    "RectifiedFlow",
    "TwoTimeMap",
    "compose",
    "euler",
    "even_grid",
    "flow_matching_loss",
    "grid_for",
    "heun",
    "mean_flow_loss",
    "over_data",
]
