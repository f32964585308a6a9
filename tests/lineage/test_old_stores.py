"""Stores that older versions left: all of it is read, verified and drawn from, for ever.

`corpus/VERSION.tar.xz` is a store with a version, a rejected candidate and a move of an alias; from 0.3.0 on
with a signed statement, and the key's public half; from 0.3.0-stated on with a statement of every run,
signed moves, and documents and signature of the version; in 0.3.0-chained each move has the digest of the
one before, versions name the records they rest on, and one of two is retired. One is added with each
version; none is ever changed.
"""

import shutil
import tarfile
import tomllib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowmap.artifacts.local_store import LocalStore
from flowmap.audit.checking import check
from flowmap.audit.graph import trace
from flowmap.audit.impact import impact
from flowmap.audit.unneeded import remove, unneeded
from flowmap.lineage.sources import unpack_sources
from flowmap.registry import Registry
from flowmap.registry.retiring import retirement_of
from tests.cli import flowmap
from tests.faults import fault


@dataclass(frozen=True)
class Old:
    """What is known of one.

    Attributes:
        alias: by which the last move leads to version 1; made_by: the step that made that.
        versions: that there are; moves: where the alias went; retired: what nobody is led to any more.
        num_artifacts, verified: what `verify` says of it.
        prompt, shape: what five samples of it are asked for, and have.
    """

    root: Path
    alias: str
    made_by: str
    num_artifacts: int
    verified: str
    prompt: str
    shape: tuple[int, ...]
    key: str | None = None
    versions: list[int] = field(default_factory=lambda: [1])
    moves: list[int] = field(default_factory=lambda: [1])
    retired: list[int] = field(default_factory=list)


KNOWN: dict[str, dict[str, Any]] = {
    "0.2.0": {
        "alias": "production",
        "made_by": "grpo_finetuning",
        "num_artifacts": 5,
        "verified": "1 moves, 0 statements, 0 signatures: all whole",
        "prompt": "3",
        "shape": (5, 1, 8, 8),
    },
    "0.3.0": {
        "alias": "staging",
        "made_by": "base_training",
        "num_artifacts": 6,
        "verified": "2 moves, 0 statements, 1 signatures: all whole",
        "prompt": "east",
        "shape": (5, 2),
        "key": "store.pub",
    },
    "0.3.0-stated": {
        "alias": "staging",
        "made_by": "base_training",
        "num_artifacts": 6,
        "verified": "3 moves, 7 statements, 10 signatures: all whole",
        "prompt": "east",
        "shape": (5, 2),
        "key": "store.pub",
    },
    "0.3.0-chained": {
        "alias": "staging",
        "made_by": "base_training",
        "num_artifacts": 6,
        "verified": "5 moves, 10 statements, 13 signatures: all whole",
        "prompt": "east",
        "shape": (5, 2),
        "key": "store.pub",
        "versions": [1, 2],
        "moves": [2, 1],
        "retired": [2],
    },
}
PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
CORPUS = sorted((Path(__file__).parents[1] / "corpus").glob("*.tar.xz"))


@pytest.fixture(scope="module", params=CORPUS, ids=lambda path: path.name.removesuffix(".tar.xz"))
def old(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Old:
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(request.param) as archive:
        archive.extractall(folder, filter="data")
    return Old(root=folder, **KNOWN[request.param.name.removesuffix(".tar.xz")])


def test_there_is_one_of_each() -> None:
    assert {path.name.removesuffix(".tar.xz") for path in CORPUS} == set(KNOWN)
    version = tomllib.loads(PYPROJECT.read_text())["project"]["version"]
    assert any(name.split("-")[0] == version for name in KNOWN), f"no store of {version} is kept yet"


def test_all_of_it_is_whole_and_signed(old: Old) -> None:
    key = () if old.key is None else ("--key", str(old.root / old.key))
    told = flowmap("lineage", "verify", "--root", str(old.root), *key)
    assert told.returncode == 0, told.stdout
    assert f"old@1: {old.num_artifacts} artifacts" in told.stdout
    assert old.verified in told.stdout


def test_what_is_changed_is_still_found(old: Old) -> None:
    store = LocalStore(old.root / "store")
    version = Registry(store, "old").resolve("1")
    weights = {"base_training": "map", "grpo_finetuning": "ema"}[old.made_by]
    name = f"artifacts/{version.candidate}/{weights}.safetensors"
    whole = store.get(name)
    try:
        store.put(name, whole[:-1] + bytes([whole[-1] ^ 1]))
        assert [fault.name for fault in check(store, version).faults] == [name]
    finally:
        store.put(name, whole)


def test_what_is_asked_is_answered(old: Old, tmp_path: Path) -> None:
    store = LocalStore(old.root / "store")
    registry = Registry(store, "old")
    version, (rejection,) = registry.resolve("1"), registry.rejections()
    graph = trace(store, version)
    assert {node.kind for node in graph.nodes.values()} >= {
        "version",
        "data_prep",
        "base_training",
        "evaluation",
    }
    (data,) = (node.digest for node in graph.nodes.values() if node.kind == "data_prep")
    reached = impact(store, data)
    assert [each.version for each in reached.trained] == old.versions
    assert [each.candidate for each in reached.rejected] == [rejection.candidate]
    assert [move.version for move in registry.moves(old.alias)] == old.moves
    assert [each.version for each in registry.versions() if retirement_of(store, each)] == old.retired
    made = graph.nodes[version.candidate].made_by
    assert made is not None
    if made.sources is not None:
        unpack_sources(store, made.sources, tmp_path)
        assert (tmp_path / "flowmap" / "__init__.py").is_file()


def test_it_draws(old: Old, tmp_path: Path) -> None:
    where = ("--root", str(old.root))
    drawn = flowmap("sample", "old@1", "-p", old.prompt, "-n", "5", "-o", str(tmp_path / "x.npz"), *where)
    assert drawn.returncode == 0, drawn.stderr
    assert np.load(tmp_path / "x.npz")["samples"].shape == old.shape
    listed = flowmap("models", *where)
    assert "old rejected" in listed.stdout


@fault(
    "`flowmap gc` took away what nothing needs",
    "`verify` finds the rest whole",
    of="rivals",
)
def test_what_gc_leaves_is_whole(old: Old, tmp_path: Path) -> None:
    shutil.copytree(old.root / "store", tmp_path / "store")
    store = LocalStore(tmp_path / "store")
    for group in unneeded(store, timedelta(days=30), datetime.now(UTC) + timedelta(days=3650)):
        remove(store, group)
    for version in Registry(store, "old").versions():
        assert not check(store, version).faults


def test_metrics_of_another_shape_are_told_and_end_no_audit(old: Old, tmp_path: Path) -> None:
    shutil.copytree(old.root / "store", tmp_path / "store")
    store = LocalStore(tmp_path / "store")
    registry = Registry(store, "old")
    version, (rejection,) = registry.resolve("1"), registry.rejections()
    for digest in (version.evaluation, rejection.evaluation):
        store.put(f"artifacts/{digest}/metrics.json", b"{}")
    told = {fault.name: fault.told for fault in check(store, version).faults}
    assert f"artifacts/{version.evaluation}/metrics.json" in told
    name = f"models/old/rejections/{rejection.evaluation}.json"
    assert told[name] == "rests on an evaluation that can't be read any more"
