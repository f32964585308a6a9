"""Classifier-free guidance, which sharpens what a velocity says of a prompt at the price of a second pass.

velocity = guided(TwoTimeMap(network).velocity, model.condition([""]), 4.5)
"""

from __future__ import annotations

import torch
from torch import Tensor

from flowmap.maps.condition import Condition
from flowmap.maps.flow_map import OneTimeNetwork


def pull(velocity: OneTimeNetwork, unconditional: Condition) -> OneTimeNetwork:
    """v(x, t, condition) - v(x, t), shape (batch, *data): which way a prompt pulls.

    Args:
        unconditional: of no prompt; leaves (1, ...), like those of the conditions that will come.
    """

    def found(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        told, untold = _both(velocity, unconditional, x, t, condition)
        return told - untold

    return found


def guided(velocity: OneTimeNetwork, unconditional: Condition, scale: float) -> OneTimeNetwork:
    """v(x, t) + scale * (v(x, t, condition) - v(x, t)), shape (batch, *data).

    Args:
        unconditional: of no prompt; leaves (1, ...), like those of the conditions that will come.
        scale: 1 is the velocity as it is.

    Source: classifier-free guidance (arXiv 2207.12598), equation 6, where w is one less than `scale`.
    """

    def found(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        told, untold = _both(velocity, unconditional, x, t, condition)
        return untold + scale * (told - untold)

    return found


def _both(
    velocity: OneTimeNetwork, unconditional: Condition, x: Tensor, t: Tensor, condition: Condition
) -> tuple[Tensor, Tensor]:
    """v(x, t, condition) and v(x, t), in one pass of twice the batch."""
    leaves = {
        name: torch.cat([leaf, unconditional[name].expand_as(leaf)]) for name, leaf in condition.items()
    }
    told, untold = velocity(torch.cat([x, x]), torch.cat([t, t]), leaves).chunk(2)
    return told, untold
