"""A function of one's own as a reward.

def edges(samples: flowmap.Samples) -> Tensor: ...      # (groups, members); NaN is no verdict
"""

from __future__ import annotations

import importlib
import importlib.util
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowmap.errors import ConfigError, InvariantError
from flowmap.rewards.building import Materials
from flowmap.rewards.protocol import Samples
from flowmap.rewards.sources import function_source
from flowmap.settings import PythonSettings


class FunctionReward:
    """Calls a function with the samples; what it gives may be anything that becomes a tensor of (groups, members)."""

    def __init__(self, function: Callable[[Samples], Any], name: str | None = None) -> None:
        self.function = function
        self.name = name or getattr(function, "__name__", "reward")

    @torch.no_grad()
    def score(self, samples: Samples) -> Tensor:
        scores = torch.as_tensor(self.function(samples), dtype=torch.float32, device=samples.data.device)
        if scores.shape != samples.data.shape[:2]:
            raise InvariantError(
                f"reward {self.name} gave shape {tuple(scores.shape)} for {tuple(samples.data.shape[:2])} samples "
                "(groups, members)"
            )
        return scores.detach()


def build(settings: PythonSettings, materials: Materials) -> FunctionReward:
    """The function, from the file that travels with the run or from an installed module."""
    text, (module_name, _, name) = function_source(settings), settings.function.partition(":")
    module = importlib.import_module(module_name) if settings.source is None else _module(module_name, text)
    function = getattr(module, name, None)
    if not callable(function):
        raise ConfigError(f"reward {settings.label}: {settings.function} is no function")
    return FunctionReward(function, settings.label)


def _module(name: str, text: bytes) -> types.ModuleType:
    """A module of that text, which no other module finds by its name."""
    with tempfile.TemporaryDirectory(prefix="flowmap-reward-") as folder:
        file = Path(folder) / f"{name.rpartition('.')[2]}.py"
        file.write_bytes(text)
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module
