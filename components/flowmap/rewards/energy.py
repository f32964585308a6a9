"""A groupwise reward of forecasts: each member's own part in the energy score of its group."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from flowmap.errors import ConfigError
from flowmap.rewards.building import Materials
from flowmap.rewards.protocol import Samples
from flowmap.rewards.trained import read_reference
from flowmap.settings import EnergySettings


class EnergyReward:
    """r_i = -||x_i - y|| + sum_{j != i} ||x_i - x_j|| / (m - 1), over the square root of the dimensions, y
    being what came.

    What a member adds to the score of its group: each pair counts half in the score, and for both of its
    members, so that a policy's gradient needs it whole. With half of it a group is paid for being narrow; in
    this form nothing pays better than to say how likely everything is.

    Args:
        came: what came at each prompt, (*data).

    Source: strictly proper scoring rules (Gneiting and Raftery 2007), equation 22; for one value it is the
    CRPS.
    """

    def __init__(self, came: Mapping[str, Tensor], name: str = "energy") -> None:
        self.name, self.real_reward = name, None
        self.came = {prompt: value.flatten() for prompt, value in came.items()}

    def score(self, samples: Samples) -> Tensor:
        groups = samples.data.flatten(2)
        came = torch.stack([known_at(self.came, prompt, self.name) for prompt in samples.prompts])
        return _parts(groups, came)


def _parts(groups: Tensor, came: Tensor) -> Tensor:
    """Each member's part, (groups, members), for groups (groups, members, dims) and what came (groups,
    dims)."""
    num_members, num_dims = groups.shape[1:]
    away = (groups - came[:, None]).norm(dim=-1)
    among = torch.cdist(groups, groups).sum(2) / max(num_members - 1, 1)
    parts: Tensor = (among - away) / num_dims**0.5
    return parts


def known_at(came: Mapping[str, Tensor], prompt: str, what: str) -> Tensor:
    """What came at an occasion. Raises ConfigError for one that reward_training does not know."""
    if prompt not in came:
        raise ConfigError(
            f"the reward {what} knows what came at {len(came)} occasions, and {prompt!r} is none of them"
        )
    return came[prompt]


def came_at(materials: Materials, what: str) -> dict[str, Tensor]:
    """What came at each prompt that reward_training knows. Raises ConfigError where prompts are no
    occasions."""
    real = read_reference(materials.trained)
    if any(len(values) > 1 for values in real.values()):
        raise ConfigError(
            f"the reward {what} is of forecasts: it takes data that are series, of which one thing came "
            "each time"
        )
    return {prompt: values[0].to(materials.device) for prompt, values in real.items() if len(values)}


def build(settings: EnergySettings, materials: Materials) -> EnergyReward:
    return EnergyReward(came_at(materials, settings.label), settings.label)
