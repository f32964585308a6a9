"""The losses of base training, by its section: of the map, and of the many-step baseline."""

from __future__ import annotations

import torch
from torch import Tensor

from flowmap.maps import Condition, TwoTimeMap, flow_matching_loss, mean_flow_loss
from flowmap.maps.flow_map import TwoTimeNetwork
from flowmap.maps.objectives import TIMES, Slope, Taught, central_difference, exact_slope, unfused_slope
from flowmap.settings import BaseTraining

Loss = tuple[Tensor, dict[str, Tensor]]


def map_loss(
    section: BaseTraining,
    network: TwoTimeNetwork,
    x: Tensor,
    condition: Condition,
    generator: torch.Generator,
    engine: TwoTimeNetwork | None = None,
    taught: Taught | None = None,
) -> Loss:
    """`mean_flow_loss` of states x (batch, *state); the engine is what is differentiated, `taught` what a
    teacher makes of the data's velocity."""
    return mean_flow_loss(
        network,
        x,
        condition,
        generator=generator,
        equal_times=section.equal_times,
        start_times=section.start_times,
        power=section.adaptive_power,
        times=section.times or TIMES,
        slope=_slope(section),
        taught=taught,
        engine=engine,
    )


def _slope(section: BaseTraining) -> Slope:
    """How the derivative along the path is taken.

    Two passes a little apart are cheaper where attention is fused, but in bfloat16 there is too little
    between them: they are off by a sixth of it, and the product by a twenty-fifth.
    """
    if not is_exact(section):
        return central_difference
    return exact_slope if section.checkpoint is None else unfused_slope


def is_exact(section: BaseTraining) -> bool:
    """Whether it is a product, not a difference."""
    if section.checkpoint is not None:
        return section.checkpoint.precision == "bfloat16"
    return section.flux is None


def velocity_loss(
    section: BaseTraining,
    network: TwoTimeNetwork,
    x: Tensor,
    condition: Condition,
    generator: torch.Generator,
) -> Loss:
    """`flow_matching_loss` of states x (batch, *state)."""
    return flow_matching_loss(
        TwoTimeMap(network).velocity,
        x,
        condition,
        generator=generator,
        power=section.adaptive_power,
        times=section.times or TIMES,
    )
