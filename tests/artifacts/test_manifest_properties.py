"""Manifests, digests and YAML for whatever anybody may write into them."""

import contextlib
import json
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from flowmap.artifacts.digest import canonical_json, sha256_of
from flowmap.artifacts.local_store import LocalStore
from flowmap.artifacts.manifest import FileEntry, Manifest, artifact_digest, build_manifest, parse_manifest
from flowmap.artifacts.transfer import fetch
from flowmap.errors import DataError, IntegrityError
from flowmap.settings.yaml_text import YamlTextError, read_yaml, write_yaml
from tests.faults import fault

DIGEST = "ab" * 32
names = some.text(some.sampled_from(string.ascii_letters + "0é✓ .-"), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..", "manifest.json")
)
paths = some.lists(names, min_size=1, max_size=3).map("/".join)
values = some.recursive(
    some.none()
    | some.booleans()
    | some.integers(-(2**53), 2**53)
    | some.floats(allow_nan=False, allow_infinity=False)
    | some.text(),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(), inner, max_size=4),
    max_leaves=12,
)


def told(files: list[dict[str, Any]], digest: str | None = None) -> bytes:
    """A manifest that fits its own digest, whatever it lists."""
    known = digest or sha256_of(canonical_json({"schema_version": 1, "files": files}))
    given = {"schema_version": 1, "digest": known, "step": "data_prep", "step_digest": "d", "files": files}
    return canonical_json(given)


@fault(
    "a manifest lists a file twice, or one inside another",
    "it is no manifest",
    of="writing",
)
@given(some.lists(paths, max_size=6))
def test_a_manifest_is_read_back_or_says_why_not(listed: list[str]) -> None:
    files = [{"path": path, "size": len(path), "sha256": sha256_of(path.encode())} for path in listed]
    lies_in_another = any(one != other and other.startswith(f"{one}/") for one in listed for other in listed)
    if len(set(listed)) < len(listed) or lies_in_another:
        with pytest.raises(IntegrityError, match="is not a manifest"):
            parse_manifest(told(files), where="here")
        return
    manifest = parse_manifest(told(files), where="here")
    assert [entry.path for entry in manifest.files] == listed
    assert parse_manifest(manifest.to_bytes(), where="here") == manifest


@fault(
    "any byte of a manifest is changed",
    "what the artifact consists of is as it was, or it is told",
    of="writing",
)
@given(some.dictionaries(names, some.binary(max_size=20), max_size=4), some.data())
@settings(max_examples=60)
def test_a_byte_of_a_manifest_that_changed_changes_what_it_says_or_is_found(
    files: dict[str, bytes], data: Any
) -> None:
    entries = tuple(
        FileEntry(path=path, size=len(content), sha256=sha256_of(content))
        for path, content in sorted(files.items())
    )
    whole = Manifest(digest=artifact_digest(entries), step="data_prep", step_digest="d", files=entries)
    there = bytearray(whole.to_bytes())
    at = data.draw(some.integers(0, len(there) - 1))
    there[at] ^= data.draw(some.integers(1, 255))
    try:
        found = parse_manifest(bytes(there), where="here")
    except IntegrityError:
        return
    # what an artifact consists of is what its digest says; who made it is not the digest's
    assert (found.digest, found.files) == (whole.digest, whole.files)


@fault(
    "a manifest names a file above its folder, by an absolute path, with a backslash, a line "
    "break or 256 letters",
    "it is no manifest; nothing is written",
    of="writing",
)
@pytest.mark.parametrize(
    "path",
    [
        "../above",
        "a/../../above",
        "/etc/flowmap-was-here",
        "a//b",
        "./a",
        "a/.",
        "",
        "a\\..\\b",
        "a\0b",
        "a\nb",
        "manifest.json",
        "x" * 256,
        "é" * 128,
    ],
)
def test_no_manifest_leads_out_of_its_folder(path: str) -> None:
    """What a store says is written below the folder that was asked for, or not at all."""
    data = told([{"path": path, "size": 1, "sha256": sha256_of(b"x")}])
    with pytest.raises(IntegrityError, match=r"is not a manifest"):
        parse_manifest(data, where="here")
    entry = FileEntry.model_construct(path=path, size=1, sha256=sha256_of(b"x"))
    with pytest.raises(ValueError, match="is no path of a file"):
        FileEntry.model_validate(entry.model_dump())


@pytest.mark.parametrize(
    "entry",
    [
        {"path": "a", "size": -1, "sha256": DIGEST},
        {"path": "a", "size": 1, "sha256": "AB" * 32},
        {"path": "a", "size": 1, "sha256": "ab"},
        {"path": "a", "size": "many", "sha256": DIGEST},
        {"path": "a", "size": 1, "sha256": DIGEST, "mode": 0o4755},
        {"path": "a", "size": 1},
    ],
)
def test_an_entry_that_can_not_be_is_refused(entry: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match="is not a manifest"):
        parse_manifest(told([entry]), where="here")


@fault(
    "a manifest claims another size, or a petabyte",
    "the file is read to the end that there is, and told",
    of="writing",
)
def test_a_manifest_that_claims_another_size_is_found_and_fills_no_disk(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    for size in (0, 10**15):
        files = (FileEntry(path="a", size=size, sha256=sha256_of(b"abc")),)
        manifest = Manifest(digest=artifact_digest(files), step="s", step_digest="d", files=files)
        store.put(f"artifacts/{manifest.digest}/a", b"abc")
        with pytest.raises(IntegrityError, match=f"3 bytes instead of {size}"):
            fetch(store, manifest, tmp_path / str(size))
        assert (tmp_path / str(size) / "a").stat().st_size == 3


@fault(
    "an object is larger than its manifest says",
    "reading ends where it is too much: no disk is filled",
    of="writing",
)
def test_of_an_object_larger_than_it_should_be_no_more_is_written_than_a_piece_too_much(
    tmp_path: Path,
) -> None:
    store, large = LocalStore(tmp_path / "store"), bytes(20 << 20)
    files = (FileEntry(path="a", size=3, sha256=sha256_of(b"abc")),)
    manifest = Manifest(digest=artifact_digest(files), step="s", step_digest="d", files=files)
    store.put(f"artifacts/{manifest.digest}/a", large)
    with pytest.raises(IntegrityError, match="bytes instead of 3"):
        fetch(store, manifest, tmp_path / "copy")
    assert (tmp_path / "copy" / "a").stat().st_size < len(large) / 2


def test_what_can_not_be_named_everywhere_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "a\\b").write_text("x")
    with pytest.raises(DataError, match="can't be a file of an artifact"):
        build_manifest(tmp_path, step="s", step_digest="d")


@given(values)
def test_a_value_has_one_spelling_whatever_its_order(value: Any) -> None:
    spelt = canonical_json(value)
    assert json.loads(spelt) == value
    assert canonical_json(json.loads(spelt)) == spelt
    if isinstance(value, dict):
        assert canonical_json(dict(reversed(value.items()))) == spelt


@fault(
    "a prompt has any letters that there are",
    "it is written and read back as it was",
    of="writing",
)
@given(values)
def test_what_is_written_as_yaml_is_read_back(value: Any) -> None:
    assert read_yaml(write_yaml({"key": value})) == {"key": value}


@given(some.text(some.sampled_from("{}[]:,-&*!|>'\"%@`#ab01 \n\t?~."), max_size=40))
def test_any_text_is_yaml_or_says_where_not(text: str) -> None:
    with contextlib.suppress(YamlTextError):
        read_yaml(text)
