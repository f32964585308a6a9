"""A reward of forecasts that end where things came to."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from flowmap.rewards.building import Materials
from flowmap.rewards.energy import came_at, known_at
from flowmap.rewards.protocol import Samples
from flowmap.settings import HitSettings


class HitReward:
    """1 where a forecast's last value is within `tolerance` of what came, else 0.

    Alone it pays for boldness: a forecast that is always the most likely end hits most often.

    Args:
        came: what came at each prompt, (*data).
    """

    def __init__(self, came: Mapping[str, Tensor], tolerance: float, name: str = "hit") -> None:
        self.name, self.real_reward, self.tolerance = name, 1.0, tolerance
        self.ends = {prompt: value.flatten()[-1] for prompt, value in came.items()}

    def score(self, samples: Samples) -> Tensor:
        end = samples.data.flatten(2)[..., -1]
        came = torch.stack([known_at(self.ends, prompt, self.name) for prompt in samples.prompts])
        return ((end - came[:, None]).abs() <= self.tolerance).float()


def build(settings: HitSettings, materials: Materials) -> HitReward:
    return HitReward(came_at(materials, settings.label), settings.tolerance, settings.label)
