"""What trains a network: backward passes, optimizer steps, checkpoints, and the other processes.

engine = TorchEngine()                               # or DeepSpeedEngine(zero_stage=2), in a worker
engine.prepare(network, optimizer, batch=64, accumulation=4)
engine.backward(loss); engine.step()                 # the fourth one updates
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

_CLIP_NORM = 1.0
_FILE = "engine.pt"


class Engine(Protocol):
    """One process's part in training.

    `module` is what a forward pass that is differentiated goes through.
    """

    module: Any

    @property
    def device(self) -> torch.device:
        """Where this process trains."""

    @property
    def rank(self) -> int:
        """This process's number among all."""

    @property
    def num_processes(self) -> int:
        """How many train together; gradients are averaged over them."""

    def prepare(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, *, batch: int, accumulation: int = 1
    ) -> None:
        """Take over a network; `accumulation` backward passes of at most `batch` samples make one update."""

    def backward(self, loss: Tensor) -> None:
        """Add a loss's gradient, divided by `accumulation`."""

    def step(self) -> None:
        """Say that a backward pass is over; the last one of an update takes the optimizer's step."""

    def sum(self, value: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""

    def whole(self, parameters: Iterable[nn.Parameter]) -> AbstractContextManager[None]:
        """Those parameters as they are, on every process, for the time of the block: an engine may keep a
        part of each here and the others elsewhere. All processes enter and leave it together."""

    def save(self, directory: Path, state: dict[str, Any]) -> None:
        """Write parameters, optimizer and `state` (tensors and plain values) below a directory."""

    def load(self, directory: Path) -> dict[str, Any]:
        """Restore what `save` wrote and return its `state`."""


class TorchEngine:
    """Plain PyTorch in one process: for notebooks, and as what other engines are measured against."""

    def __init__(self, device: torch.device | None = None) -> None:
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.rank, self.num_processes = 0, 1
        self.module: Any = None
        self._optimizer: Any = None
        self._accumulation, self._done = 1, 0

    def prepare(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, *, batch: int, accumulation: int = 1
    ) -> None:
        self.module, self._optimizer, self._accumulation, self._done = network, optimizer, accumulation, 0

    def backward(self, loss: Tensor) -> None:
        (loss / self._accumulation).backward()

    def step(self) -> None:
        self._done += 1
        if self._done % self._accumulation == 0:
            nn.utils.clip_grad_norm_(self.module.parameters(), _CLIP_NORM)
            self._optimizer.step()
            self._optimizer.zero_grad()

    def sum(self, value: Tensor) -> Tensor:
        return value.detach().clone()

    def whole(self, parameters: Iterable[nn.Parameter]) -> AbstractContextManager[None]:
        return nullcontext()

    def save(self, directory: Path, state: dict[str, Any]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        kept = {
            "network": self.module.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "state": state,
        }
        torch.save(kept, directory / _FILE)

    def load(self, directory: Path) -> dict[str, Any]:
        kept = torch.load(directory / _FILE, weights_only=True)
        self.module.load_state_dict(kept["network"])
        self._optimizer.load_state_dict(kept["optimizer"])
        state: dict[str, Any] = kept["state"]
        return state
