"""Stores that older versions left: all of it is read, verified and drawn from, for ever.

`corpus/VERSION.tar.xz` is a store with a base, a rejected candidate, a move of an alias and a signed
statement, and the key's public half. One is added with each version; none is ever changed.
"""

import tarfile
from pathlib import Path

import numpy as np
import pytest

from flowmap.artifacts.local_store import LocalStore
from flowmap.audit.checking import check
from flowmap.audit.graph import trace
from flowmap.audit.impact import impact
from flowmap.lineage.sources import unpack_sources
from flowmap.registry import Registry
from tests.cli import flowmap

CORPUS = sorted((Path(__file__).parents[1] / "corpus").glob("*.tar.xz"))


@pytest.fixture(scope="module", params=CORPUS, ids=lambda path: path.name.removesuffix(".tar.xz"))
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(request.param) as archive:
        archive.extractall(folder, filter="data")
    return folder


def test_there_is_one() -> None:
    assert CORPUS


def test_all_of_it_is_whole_and_signed(root: Path) -> None:
    told = flowmap("lineage", "verify", "--root", str(root), "--key", str(root / "store.pub"))
    assert told.returncode == 0, told.stdout
    assert "old@1: 6 artifacts" in told.stdout
    assert "2 moves, 1 statements: all whole" in told.stdout


def test_what_is_changed_is_still_found(root: Path) -> None:
    store = LocalStore(root / "store")
    (version,) = Registry(store, "old").versions()
    name = f"artifacts/{version.candidate}/map.safetensors"
    whole = store.get(name)
    try:
        store.put(name, whole[:-1] + bytes([whole[-1] ^ 1]))
        assert [fault.name for fault in check(store, version).faults] == [name]
    finally:
        store.put(name, whole)


def test_what_is_asked_is_answered(root: Path, tmp_path: Path) -> None:
    store = LocalStore(root / "store")
    registry = Registry(store, "old")
    (version,), (rejection,) = registry.versions(), registry.rejections()
    graph = trace(store, version)
    assert {node.kind for node in graph.nodes.values()} >= {
        "version",
        "data_prep",
        "base_training",
        "evaluation",
    }
    (data,) = (node.digest for node in graph.nodes.values() if node.kind == "data_prep")
    reached = impact(store, data)
    assert [each.version for each in reached.trained] == [1]
    assert [each.candidate for each in reached.rejected] == [rejection.candidate]
    assert [move.version for move in registry.moves("staging")] == [1]
    made = graph.nodes[version.candidate].made_by
    assert made is not None
    if made.sources is not None:
        unpack_sources(store, made.sources, tmp_path)
        assert (tmp_path / "flowmap" / "__init__.py").is_file()


def test_it_draws(root: Path, tmp_path: Path) -> None:
    drawn = flowmap(
        "sample", "old@1", "-p", "east", "-n", "5", "-o", str(tmp_path / "x.npz"), "--root", str(root)
    )
    assert drawn.returncode == 0, drawn.stderr
    assert np.load(tmp_path / "x.npz")["samples"].shape == (5, 2)
    listed = flowmap("models", "--root", str(root))
    assert "old rejected" in listed.stdout
