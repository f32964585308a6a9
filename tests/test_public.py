"""The public face: every name is there, and nothing large is loaded before it is used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import flowmap


def test_importing_flowmap_loads_nothing_large() -> None:
    program = "import flowmap, sys; dir(flowmap); print(*(m for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "pydantic", "yaml", "minio", "kfp"} & set(done.stdout.split())


def test_settings_stores_and_registry_need_no_torch() -> None:
    program = (
        "import flowmap, sys; flowmap.load_config, flowmap.Registry, flowmap.open_store; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "torch" not in done.stdout.split()


@pytest.mark.parametrize("name", flowmap.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(flowmap, name) is not None
    assert name in dir(flowmap)


def test_checkers_see_the_names_that_python_sees() -> None:
    tree = ast.parse(Path(flowmap.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == set(flowmap.__all__)


def test_a_name_that_is_not_there_is_told() -> None:
    with pytest.raises(AttributeError, match="module 'flowmap' has no attribute 'Diffusion'"):
        _ = flowmap.Diffusion
