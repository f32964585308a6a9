"""Exponential moving average of a network's parameters."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


class Ema:
    """Averages what is trained of a network; early on with a shorter memory, (1 + n) / (10 + n) after n
    updates.

    Only parameters with gradients are kept: where adapters alone are trained, it is as small as they are.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.weights = {name: value.detach().clone() for name, value in _trained(network).items()}
        self.decay = decay
        self.num_updates = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        self.num_updates += 1
        values = _trained(network)
        torch._foreach_lerp_(
            list(self.weights.values()), [values[name].detach() for name in self.weights], 1 - decay
        )

    @contextlib.contextmanager
    def applied(self, network: nn.Module) -> Iterator[None]:
        """The network with the average in the place of its own parameters, for the time of the block."""
        values = _trained(network)
        kept = {name: values[name].detach().clone() for name in self.weights}
        _fill(values, self.weights)
        try:
            yield
        finally:
            _fill(values, kept)

    def network_of(self, network: nn.Module) -> nn.Module:
        """A copy of the network with the average, in evaluation mode and without gradients."""
        found = copy.deepcopy(network)
        _fill(_trained(found), self.weights)
        return found.eval().requires_grad_(False)

    def state(self) -> dict[str, Any]:
        """What `load` restores: tensors and a number."""
        return {"weights": self.weights, "num_updates": self.num_updates}

    def load(self, state: dict[str, Any]) -> None:
        _fill(self.weights, state["weights"])
        self.num_updates = state["num_updates"]


def _trained(network: nn.Module) -> dict[str, nn.Parameter]:
    return {name: value for name, value in network.named_parameters() if value.requires_grad}


@torch.no_grad()
def _fill(values: dict[str, Any], weights: dict[str, Tensor]) -> None:
    for name, weight in weights.items():
        values[name].copy_(weight)
