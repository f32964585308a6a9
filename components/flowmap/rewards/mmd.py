"""A groupwise reward: each member's own part in the distance (MMD) of its group from real samples of the prompt."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_BANDWIDTHS = (0.05, 0.2, 0.8)


class MmdReward:
    """r_i = mean_j k(x_i, real_j) - mean_{j != i} k(x_i, x_j), k a sum of Gaussians of the mean squared difference.

    Both terms have weight one: with less of the second, a group is paid for collapsing onto the mode.

    Args:
        real: real samples of each prompt, a sequence of tensors (any number, *data).

    Source: kernel two-sample test (Gretton et al. 2012), equation 3, one row of each sum.
    """

    def __init__(self, real: Sequence[Tensor]) -> None:
        self.real = [samples.flatten(1) for samples in real]

    @torch.no_grad()
    def __call__(self, x: Tensor, prompt: Tensor) -> Tensor:
        groups = x.flatten(2)
        num_members = groups.shape[1]
        among = _kernel(groups, groups)
        others = (among.sum(2) - among.diagonal(dim1=1, dim2=2)) / max(num_members - 1, 1)
        closeness = [_kernel(g, self.real[p]).mean(1) for g, p in zip(groups, prompt.tolist(), strict=True)]
        return torch.stack(closeness) - others


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    squared = torch.cdist(x, y).square() / x.shape[-1]
    return torch.stack([torch.exp(-squared / width) for width in _BANDWIDTHS]).sum(0)
