"""Expectations of data in a file of their own, beside the configuration: they travel with the run.

    data_prep: {expectations: expectations.yaml}

A list as it would stand in the configuration, in YAML or JSON, or a suite as Great Expectations writes one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flowmap.errors import ConfigError
from flowmap.settings.yaml_text import YamlTextError, read_yaml

_SUITE, _KEYS = "expectations", ("type", "kwargs")
_PLACES = (("data_prep",), ("data_prep", "captioned"))


def read_expectations_files(raw: dict[Any, Any], folder: Path) -> None:
    """Put what such files say where their names stand.

    Args:
        raw: the configuration as it was read; it is changed.
        folder: that the configuration lies in.

    Raises ConfigError where one can't be read or holds something else.
    """
    for place in _PLACES:
        here: Any = raw
        for name in place:
            here = here.get(name) if isinstance(here, dict) else None
        if isinstance(here, dict) and isinstance(here.get(_SUITE), str):
            here[_SUITE] = _read(folder / here[_SUITE], ".".join((*place, _SUITE)))


def _read(path: Path, setting: str) -> list[Any]:
    try:
        text = path.read_text(encoding="utf-8")
        told = _read_json(text) if path.suffix == ".json" else read_yaml(text)
    except YamlTextError as error:
        raise ConfigError(f"{setting}: {path}: {error}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{setting}: {path} can't be read: {error}") from None
    if isinstance(told, dict) and isinstance(told.get(_SUITE), list):  # what else a suite says is for people
        told = [
            {key: each[key] for key in _KEYS if key in each} if isinstance(each, dict) else each
            for each in told[_SUITE]
        ]
    if not isinstance(told, list):
        raise ConfigError(
            f"{setting}: {path} holds no list of expectations, nor a suite of Great Expectations: write "
            "- {type: expect_..., kwargs: {...}} for each"
        )
    return told


def _read_json(text: str) -> Any:
    from flowmap.json_text import read_json  # in no step's code: settings are read before

    return read_json(text.encode())
