"""Paths from data to noise, flow maps along them, deterministic sampling.

Time runs from noise to data downwards: t = 1 is noise, t = 0 is data. States have shape (batch, *data), times (batch,),
prompts (batch,) as integers.
"""

from flowmap.maps.flow_map import FlowMap, TwoTimeMap
from flowmap.maps.path import AffinePath, RectifiedFlow, over_data
from flowmap.maps.sampling import compose, euler, even_grid, grid_for

__all__ = [
    "AffinePath",
    "FlowMap",
    "RectifiedFlow",
    "TwoTimeMap",
    "compose",
    "euler",
    "even_grid",
    "grid_for",
    "over_data",
]
