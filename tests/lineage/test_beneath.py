"""What a version was made of, and what it was only held against, in what is published of it."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from flowmap.artifacts.digest import sha256_of
from flowmap.artifacts.local_store import LocalStore
from flowmap.artifacts.manifest import Manifest, build_manifest
from flowmap.attestation.statement import statement_of
from flowmap.audit.graph import Graph, Node, beneath, outside_of, trace
from flowmap.documents.bill_of_materials import bill_of_materials
from flowmap.registry import Registry, Version
from flowmap_pipelines.lineage_text import tree
from tests.records import record


def d(name: str) -> str:
    return sha256_of(name.encode())


def published(folder: Path, name: str) -> Manifest:
    (folder / name).mkdir(parents=True)
    (folder / name / "ema.safetensors").write_text(name)
    return build_manifest(folder / name, step="registry_push", step_digest=d(f"step {name}"))


def version(folder: Path, number: int, incumbent: str | None) -> Version:
    age = "new" if number == 2 else "old"
    told: dict[str, Any] = {
        "name": "x",
        "candidate": d(f"tuned {age}"),
        "evaluation": d(f"evaluation {age}"),
        "incumbent": incumbent,
        "verdict": {"verdict": "promote"},
        "figures": {"judge_accuracy": 0.9},
    }
    return Version(**told, version=number, manifest=published(folder, age))


COMMIT = "0123456789" * 4
CONFIG = {
    "base_training": {"checkpoint": {"source": "someone/flux", "revision": COMMIT}},
    "data_prep": {"captioned": {"encoder": {"source": "/models/encoder", "revision": None}}},
}


@pytest.fixture
def two(tmp_path: Path) -> tuple[LocalStore, Version]:
    """The second of two generations: other pictures, the same checkpoint, an encoder, two rewards."""
    store = LocalStore(tmp_path / "store")
    old = version(tmp_path, 1, None)
    new = version(tmp_path, 2, old.manifest.digest)
    for age in ("old", "new"):
        data, base, tuned = (d(f"{step} {age}") for step in ("data", "base", "tuned"))
        against = {"incumbent": old.manifest.digest} if age == "new" else {}
        record(store, "data_prep", data, inputs={"captioned": d(f"pictures {age}"), "encoder": d("encoder")})
        record(store, "base_training", base, inputs={"data": data, "checkpoint": d("checkpoint")})
        given = {"base": base, "reward clip": d(f"clip {age}")}
        record(store, "grpo_finetuning", tuned, inputs=given, config=CONFIG)
        judged = {"data": data, "tuned": tuned, "features": d("features"), **against}
        record(store, "evaluation", d(f"evaluation {age}"), inputs=judged)
    for each in (old, new):
        store.create(f"models/x/{each.version}/version.json", each.model_dump_json(indent=1).encode())
    assert [each.version for each in Registry(store, "x").versions()] == [1, 2]
    return store, new


OUTSIDE = {
    "captioned": "pictures new",
    "encoder": "encoder",
    "checkpoint": "checkpoint",
    "reward clip": "clip new",
}


def test_what_it_was_held_against_is_not_what_it_was_made_of(two: tuple[LocalStore, Version]) -> None:
    store, new = two
    graph = trace(store, new)
    assert d("pictures old") in graph.nodes
    steps = {node.digest for node in beneath(graph, new)}
    own = {d(f"{step} new") for step in ("data", "base", "tuned")}
    assert steps == own | {d(each) for each in OUTSIDE.values()}
    assert outside_of(graph, new) == {d(each): name for name, each in OUTSIDE.items()}


def test_a_bill_of_materials_names_the_data_that_went_in_and_no_other(
    two: tuple[LocalStore, Version],
) -> None:
    store, new = two
    bill = json.loads(bill_of_materials(store, new))
    card = bill["metadata"]["component"]["modelCard"]
    named = {each["ref"] for each in card["modelParameters"]["datasets"]}
    assert named == {d("pictures new"), d("data new")}
    parts = {each["bom-ref"]: each for each in bill["components"] if "hashes" in each}
    assert d("pictures old") not in parts
    assert d("data old") not in parts
    kinds = {each["name"]: each["type"] for each in parts.values()}
    assert kinds == {
        "captioned": "data",
        "data_prep": "data",
        "encoder": "machine-learning-model",
        "checkpoint": "machine-learning-model",
        "reward clip": "file",
        "base_training": "file",
        "grpo_finetuning": "file",
    }
    assert parts[d("checkpoint")]["version"] == COMMIT
    assert parts[d("checkpoint")]["purl"] == f"pkg:huggingface/someone/flux@{COMMIT}"
    assert "purl" not in parts[d("encoder")]
    depends = {each["ref"]: each["dependsOn"] for each in bill["dependencies"]}
    assert depends[new.manifest.digest] == [new.candidate]
    assert depends[d("base new")] == sorted([d("checkpoint"), d("data new")])
    assert {ref for used in depends.values() for ref in used} <= {*parts, new.manifest.digest}


def test_a_statement_calls_what_came_from_outside_by_its_name(two: tuple[LocalStore, Version]) -> None:
    store, new = two

    def named(each: Version) -> dict[str, str]:
        told = json.loads(statement_of(trace(store, each), each))["predicate"]["buildDefinition"]
        return {used["digest"]["sha256"]: used["name"] for used in told["resolvedDependencies"]}

    assert named(new)[d("checkpoint")] == "outside"  # as versions from before this was kept have it
    now = named(new.model_copy(update={"outside": outside_of(trace(store, new), new)}))
    assert {name: now[d(each)] for name, each in OUTSIDE.items()} == {name: name for name in OUTSIDE}
    assert now[d("data new")] == "data_prep"
    assert d("features") not in now


def test_a_checkpoint_that_encoded_the_pictures_too_is_the_checkpoint(tmp_path: Path) -> None:
    """One digest under two names, as where what is converted encodes."""
    store = LocalStore(tmp_path / "store")
    only = version(tmp_path, 2, None)
    data, base, tuned, one = d("data new"), d("base new"), d("tuned new"), d("one")
    record(store, "data_prep", data, inputs={"captioned": d("pictures"), "encoder": one})
    record(store, "base_training", base, inputs={"data": data, "checkpoint": one})
    record(store, "grpo_finetuning", tuned, inputs={"base": base})
    record(store, "evaluation", only.evaluation, inputs={"tuned": tuned})
    assert outside_of(trace(store, only), only) == {d("pictures"): "captioned", one: "checkpoint"}


def test_a_history_of_thousands_of_versions_is_told() -> None:
    """Each was held against the one before: what goes step by step must not go call by call."""
    nodes = {
        str(number): Node(str(number), "version", {"incumbent": str(number - 1)} if number else {})
        for number in range(5000)
    }
    graph = Graph("4999", nodes)
    assert graph.cycle() == ()
    assert len(list(tree(graph))) == 5000
    turned = Graph("2", {**nodes, "0": Node("0", "version", {"incumbent": "3"})})
    assert set(turned.cycle()) == {"0", "1", "2", "3"}
    for one, other in itertools.pairwise(turned.cycle()):
        assert other in turned.nodes[one].inputs.values()
