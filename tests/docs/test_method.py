"""What docs/method.md calls by name is there."""

import importlib
import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[2] / "docs" / "method.md").read_text()
NAMES = sorted(set(re.findall(r"`(flowmap(?:\.\w+){2,})`", TEXT)))


def test_there_are_some() -> None:
    assert len(NAMES) > 15


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_there(name: str) -> None:
    module, _, thing = name.rpartition(".")
    assert hasattr(importlib.import_module(module), thing), name
