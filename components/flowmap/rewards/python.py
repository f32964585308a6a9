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

from flowmap.errors import ConfigError
from flowmap.rewards.building import Materials
from flowmap.rewards.protocol import FunctionReward
from flowmap.rewards.sources import function_source
from flowmap.settings import FunctionSettings, PythonSettings


def build(settings: PythonSettings, materials: Materials) -> FunctionReward:
    """The function, from the file that travels with the run or from an installed module."""
    return FunctionReward(function_of(settings), settings.label)


def function_of(settings: FunctionSettings) -> Callable[..., Any]:
    """The one that is named. Raises ConfigError where there is none."""
    text, (module_name, _, name) = function_source(settings), settings.function.partition(":")
    module = importlib.import_module(module_name) if settings.source is None else _module(module_name, text)
    function = getattr(module, name, None)
    if not callable(function):
        raise ConfigError(f"reward {settings.label}: {settings.function} is no function")
    found: Callable[..., Any] = function
    return found


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
