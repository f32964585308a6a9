"""A groupwise reward: each member's own part in the distance (MMD) of its group from real samples of the
prompt."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from flowmap.rewards.building import Materials
from flowmap.rewards.protocol import Samples
from flowmap.rewards.trained import read_reference
from flowmap.settings import MmdSettings

_BANDWIDTHS = (0.05, 0.2, 0.8)


class MmdReward:
    """r_i = mean_j k(x_i, real_j) - mean_{j != i} k(x_i, x_j), k a sum of Gaussians of the mean squared
    difference.

    Both terms have weight one: with less of the second, a group is paid for collapsing onto the mode.

    Args:
        real: real samples of each prompt, (any number, *data).

    Source: kernel two-sample test (Gretton et al. 2012), equation 3, one row of each sum.
    """

    def __init__(self, real: Mapping[str, Tensor], name: str = "mmd") -> None:
        self.name, self.real_reward = name, None
        self.real = {prompt: samples.flatten(1) for prompt, samples in real.items()}

    def score(self, samples: Samples) -> Tensor:
        groups = samples.data.flatten(2)
        num_members = groups.shape[1]
        among = _kernel(groups, groups)
        others = (among.sum(2) - among.diagonal(dim1=1, dim2=2)) / max(num_members - 1, 1)
        closeness = [
            _kernel(group, self.real[prompt]).mean(1)
            for group, prompt in zip(groups, samples.prompts, strict=True)
        ]
        return torch.stack(closeness) - others


def build(settings: MmdSettings, materials: Materials) -> MmdReward:
    real = read_reference(materials.trained)
    on_device = {prompt: samples.to(materials.device) for prompt, samples in real.items()}
    return MmdReward(on_device, settings.label)


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    squared = torch.cdist(x, y).square() / x.shape[-1]
    return torch.stack([torch.exp(-squared / width) for width in _BANDWIDTHS]).sum(0)
