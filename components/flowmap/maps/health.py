"""Is the map a map? Measured on a grid of (t, r), for it can fail at isolated pairs while the loss looks
fine."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from flowmap.maps.condition import Condition
from flowmap.maps.flow_map import FlowMap

TIMES = (1.0, 0.8, 0.5, 0.25, 0.05, 0.0)


@dataclass(frozen=True)
class PairHealth:
    """One pair t > r.

    Attributes:
        speed: rms of the average velocity u over rms of the velocity v.
        gap: rms of psi_{t->r}(x) - psi_{m->r}(psi_{t->m}(x)) over rms of the former, m half-way.
    """

    t: float
    r: float
    speed: float
    gap: float

    def __str__(self) -> str:
        return f"({self.t:g}, {self.r:g}) speed {self.speed:.2f} gap {self.gap:.2f}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@torch.no_grad()
def map_health(
    flow_map: FlowMap, x: Tensor, condition: Condition, generator: torch.Generator
) -> list[PairHealth]:
    """Both figures for each pair of TIMES; x real data, (batch, *data), noised to t."""
    noise = torch.randn(x.shape, generator=generator)
    rows = []
    for t_value in TIMES:
        t = torch.full((len(x),), t_value)
        z = flow_map.path.sample(x, noise, t).x_t
        speed = _rms(flow_map.velocity(z, t, condition))
        for r_value in (value for value in TIMES if value < t_value):
            r = torch.full((len(x),), r_value)
            middle = (t + r) / 2
            direct = flow_map.transport(z, t, r, condition)
            composed = flow_map.transport(flow_map.transport(z, t, middle, condition), middle, r, condition)
            mean_speed = _rms(z - direct) / (t_value - r_value)
            rows.append(
                PairHealth(t_value, r_value, mean_speed / speed, _rms(direct - composed) / _rms(direct))
            )
    return rows


def unhealthy(rows: list[PairHealth], max_speed_ratio: float, max_gap: float) -> list[PairHealth]:
    """The pairs whose speed is off by more than a factor, or whose gap is too wide; NaN is unhealthy."""
    return [
        row
        for row in rows
        if not (1 / max_speed_ratio <= row.speed <= max_speed_ratio and row.gap <= max_gap)
    ]


def _rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())
