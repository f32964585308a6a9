"""What is published beside a version's weights: made when it is, kept as bytes, mended from its evidence."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flowmap.artifacts.digest import sha256_of
from flowmap.artifacts.local_store import LocalStore
from flowmap.artifacts.transfer import faults
from flowmap.attestation.checking import check_statements
from flowmap.audit.checking import check
from flowmap.audit.graph import trace
from flowmap.audit.unneeded import remove, unneeded
from flowmap.documents.model_card import _came_from
from flowmap.documents.published import mend
from flowmap.lineage.edges import makers
from flowmap.lineage.record import write_edges
from flowmap.lineage.statement import folder_of_run, is_statement
from flowmap.registry import Judged, Registry, Version
from flowmap.registry.documents import documents_prefix
from tests.faults import fault

DAY = timedelta(days=1)


@pytest.fixture
def store(root: Path, tmp_path: Path) -> LocalStore:
    shutil.copytree(root, tmp_path / "root")
    return LocalStore(tmp_path / "root" / "store")


def version_of(store: LocalStore, reference: str = "2") -> Version:
    return Registry(store, "tiny").resolve(reference)


@pytest.mark.parametrize("reference", ["1", "2"])
def test_every_version_has_a_card_a_bill_and_samples(store: LocalStore, reference: str) -> None:
    version = version_of(store, reference)
    assert version.documents is not None
    assert [entry.path for entry in version.documents.files] == ["README.md", "bom.cdx.json", "samples.png"]
    prefix = documents_prefix(version)
    assert f"# tiny@{reference}\n" in store.get(f"{prefix}/README.md").decode()
    assert json.loads(store.get(f"{prefix}/bom.cdx.json"))["bomFormat"] == "CycloneDX"
    assert store.get(f"{prefix}/samples.png").startswith(b"\x89PNG")
    (statement,) = [
        name for name in store.names(f"models/tiny/{reference}/statements") if is_statement(name)
    ]
    byproducts = json.loads(store.get(statement))["predicate"]["runDetails"]["byproducts"]
    told = {each["name"]: each.get("digest", {}).get("sha256") for each in byproducts}
    assert {entry.path: entry.sha256 for entry in version.documents.files}.items() <= told.items()
    (data,) = [each["annotations"] for each in byproducts if each["name"] == "expectations"]
    assert data["step"] == "data_prep"
    assert {
        "expectation": "expect_column_values_to_be_unique",
        "column": "digest",
        "num_rows": 1797,
    } in data["met"]


@pytest.mark.parametrize("file", ["README.md", "bom.cdx.json", "samples.png"])
def test_what_is_damaged_is_found_and_made_again(store: LocalStore, file: str) -> None:
    version = version_of(store)
    assert version.documents is not None
    name, registry = f"{documents_prefix(version)}/{file}", Registry(store, "tiny")
    whole = store.get(name)
    store.put(name, whole[:-1])
    (fault,) = check(store, version).faults
    assert fault.name == name
    assert mend(registry, version) == [name]
    assert store.get(name) == whole
    assert mend(registry, version) == []


def test_what_another_flowmap_would_write_otherwise_is_left(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = version_of(store)
    assert version.documents is not None
    name = f"{documents_prefix(version)}/README.md"
    store.put(name, b"")
    monkeypatch.setattr("flowmap.__version__", "9.9")
    assert mend(Registry(store, "tiny"), version) == []
    assert list(faults(store, version.documents, documents_prefix(version))) == [name]


@fault(
    "a step's run dies behind its statement and before its record",
    "`flowmap gc` takes the statement away",
    of="writing",
)
def test_what_a_version_rests_on_is_what_it_named_whoever_comes_later(store: LocalStore) -> None:
    """A run that came to the same data before may be told of later, as by an import."""
    version = version_of(store)
    assert version.records is not None
    data = next(node for node in trace(store, version).nodes.values() if node.kind == "data_prep")
    assert data.made_by is not None
    earlier = data.made_by.model_copy(
        update={"finished_at": "2020-01-01T00:00:00.000+00:00", "host": "elsewhere", "is_stated": False}
    )
    written = earlier.model_dump_json(indent=1).encode()
    store.put(f"lineage/{sha256_of(written)}.json", written)
    write_edges(store, sha256_of(written), earlier)
    assert next(iter(makers(store, data.digest).values())).host == "elsewhere"
    audit = check(store, version)
    check_statements(store, version, None, audit)
    assert not audit.faults


def test_two_versions_of_the_same_files_are_each_looked_at(store: LocalStore) -> None:
    registry, version = Registry(store, "tiny"), version_of(store)
    told = {name: getattr(version, name) for name in Judged.model_fields}
    other = registry.write_version(version.manifest, Judged(**told))
    assert other.manifest.digest == version.manifest.digest
    name = "models/tiny/2/version.json"
    changed = json.loads(store.get(name))
    changed["figures"] = dict.fromkeys(changed["figures"], 1.0)
    store.put(name, json.dumps(changed).encode())
    assert name in [fault.name for fault in check(store, version_of(store)).faults]


def test_a_statement_of_a_run_that_left_no_record_goes(store: LocalStore) -> None:
    left = f"{folder_of_run('e' * 64)}/{'f' * 64}.statement.json"
    store.put(left, b"{}")
    later = datetime.now(UTC) + 3 * DAY
    (found,) = [each for each in unneeded(store, 2 * DAY, later) if each.kind == "statement"]
    assert found.names == (left,)
    remove(store, found)
    assert not check(store, version_of(store)).faults
    assert any(map(is_statement, store.names("lineage/statements")))


@pytest.mark.parametrize(
    ("checkpoint", "told"),
    [
        ({"source": "someone/flux", "revision": "c0ffee"}, "someone/flux at c0ffee, as it came"),
        ({"source": "/models/flux-lite/", "convert": True}, "flux-lite, made into a map of two times"),
        (
            {"source": "s3://b/sd3?endpoint=http://h:9", "train": True},
            "of sd3 the architecture, from scratch",
        ),
    ],
)
def test_a_card_says_which_model_of_others_it_was_made_of(checkpoint: dict[str, Any], told: str) -> None:
    """And no more of where that lay than its name."""
    assert _came_from(checkpoint) == told
