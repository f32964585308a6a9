"""Exponential moving average of a network's parameters."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


class Ema:
    """Averages the parameters of a network; early on with a shorter memory, (1 + n) / (10 + n) after n
    updates."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self.num_updates = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        self.num_updates += 1
        averages: list[Tensor] = list(self.network.parameters())
        torch._foreach_lerp_(averages, [value.detach() for value in network.parameters()], 1 - decay)

    def state(self) -> dict[str, Any]:
        """What `load` restores: tensors and a number."""
        return {"weights": self.network.state_dict(), "num_updates": self.num_updates}

    def load(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["weights"])
        self.num_updates = state["num_updates"]
