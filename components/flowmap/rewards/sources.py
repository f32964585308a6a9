"""What decides a reward besides its settings: the module of its kind, and a function's own source.

Without torch.
"""

from __future__ import annotations

import ast
import base64
import importlib.util
from collections.abc import Iterable
from pathlib import Path

from flowmap.artifacts.digest import sha256_of
from flowmap.errors import ConfigError
from flowmap.settings import AnyReward, FunctionSettings

_AS = {"pickscore": "clip", "hps": "clip", "python_rules": "rules"}  # kinds that another's module builds


def module_of(settings: AnyReward) -> str:
    """The module that builds this kind of reward."""
    return f"flowmap.rewards.{_AS.get(settings.kind, settings.kind)}"


def modules_of(settings: Iterable[AnyReward]) -> tuple[str, ...]:
    """The modules of all kinds that are asked for."""
    return tuple(sorted({module_of(each) for each in settings}))


def function_digests(settings: Iterable[AnyReward]) -> dict[str, str]:
    """The digest of each installed function's file, by the reward's name.

    A file that travels with the run stands in the settings themselves. Raises ConfigError.
    """
    return {
        f"reward {each.label}": sha256_of(function_source(each))
        for each in settings
        if isinstance(each, FunctionSettings) and each.source is None
    }


def function_source(settings: FunctionSettings) -> bytes:
    """The source of the function's module.

    Raises ConfigError when it is nowhere, or has no such function.
    """
    name, _, function = settings.function.partition(":")
    text = base64.b64decode(settings.source) if settings.source is not None else _installed(settings, name)
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise ConfigError(f"reward {settings.label}: {name}.py, line {error.lineno}: {error.msg}") from None
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    if settings.source is not None and function not in names:
        there = ", ".join(names) or "no function"
        raise ConfigError(f"reward {settings.label}: {name}.py has no function {function}; it has {there}")
    return text


def _installed(settings: FunctionSettings, name: str) -> bytes:
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise ConfigError(
            f"reward {settings.label}: there is no {name}.py beside the configuration, and no module {name} "
            "is installed here"
        )
    return Path(spec.origin).read_bytes()
