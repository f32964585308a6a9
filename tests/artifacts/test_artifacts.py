"""Stores and artifacts: nothing half-written is seen, and no changed byte goes unnoticed."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flowmap.artifacts.checkpoints import Checkpoints
from flowmap.artifacts.local_store import LocalStore
from flowmap.artifacts.manifest import Manifest, build_manifest, parse_manifest
from flowmap.artifacts.store import open_store
from flowmap.artifacts.transfer import artifact_prefix, fetch, publish, stored_manifest, verify
from flowmap.errors import ConfigError, DataError, IntegrityError, StoreError


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def directory(path: Path, **files: bytes) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def published(store: LocalStore, path: Path) -> Manifest:
    manifest = build_manifest(directory(path / "made", a=b"alpha", b=b"beta" * 1000), step="test", step_digest="0")
    publish(store, path / "made", manifest)
    return manifest


def test_what_was_put_is_what_is_read(store: LocalStore, tmp_path: Path) -> None:
    store.put("x/y", b"1")
    store.put("x/y", b"22")
    store.put_file("x/z", directory(tmp_path, f=b"333") / "f")
    assert (store.get("x/y"), store.get("x/z")) == (b"22", b"333")
    assert list(store.names("x")) == ["x/y", "x/z"]
    store.delete("x/y")
    store.delete("x/y")
    assert not store.exists("x/y")
    with pytest.raises(KeyError):
        store.get("x/y")


def test_of_many_writers_exactly_one_creates(store: LocalStore) -> None:
    with ThreadPoolExecutor(16) as pool:
        created = list(pool.map(lambda i: store.create("one", str(i).encode()), range(64)))
    assert created.count(True) == 1
    assert store.get("one") == str(created.index(True)).encode()


def test_a_write_that_fails_leaves_what_was_there(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("d/x", b"before")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="is full"):
        store.put("d/x", b"after")
    assert store.get("d/x") == b"before"
    assert [path.name for path in (store.root / "d").iterdir()] == ["x"]


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../outside", "a/../../outside"])
def test_a_name_outside_the_store_is_refused(store: LocalStore, name: str) -> None:
    with pytest.raises(StoreError, match="not a name inside"):
        store.put(name, b"")


def test_an_unknown_scheme_is_named() -> None:
    with pytest.raises(ConfigError, match="unknown scheme 'ftp'"):
        open_store("ftp://host/path")


def test_an_artifact_comes_back_as_it_went_in(store: LocalStore, tmp_path: Path) -> None:
    manifest = published(store, tmp_path)
    fetch(store, manifest, tmp_path / "copy")
    assert (tmp_path / "copy" / "b").read_bytes() == b"beta" * 1000
    assert stored_manifest(store, manifest.digest) == manifest


def test_the_digest_is_that_of_the_files_and_not_of_their_maker(tmp_path: Path) -> None:
    path = directory(tmp_path, a=b"1", b=b"2")
    first = build_manifest(path, step="one", step_digest="1")
    assert build_manifest(path, step="two", step_digest="2").digest == first.digest
    (path / "a").write_bytes(b"3")
    assert build_manifest(path, step="one", step_digest="1").digest != first.digest


@pytest.mark.parametrize(
    ("damage", "told"),
    [(b"alphb", "was changed"), (b"alph", "has 4 bytes instead of 5"), (None, "is missing")],
)
def test_a_damaged_file_is_named(store: LocalStore, tmp_path: Path, damage: bytes | None, told: str) -> None:
    manifest = published(store, tmp_path)
    name = f"{artifact_prefix(manifest.digest)}/a"
    if damage is None:
        store.delete(name)
    else:
        store.put(name, damage)
    for check in (lambda: verify(store, manifest), lambda: fetch(store, manifest, tmp_path / "copy")):
        with pytest.raises(IntegrityError, match=told) as caught:
            check()
        assert name in str(caught.value)


def test_a_changed_manifest_is_noticed(store: LocalStore, tmp_path: Path) -> None:
    manifest = published(store, tmp_path)
    data = manifest.to_bytes().replace(manifest.files[0].sha256[:8].encode(), b"00000000")
    with pytest.raises(IntegrityError, match="list of files was changed"):
        parse_manifest(data, where="here")
    with pytest.raises(IntegrityError, match="here is not a manifest"):
        parse_manifest(b"{", where="here")


def test_a_link_can_not_be_part_of_an_artifact(tmp_path: Path) -> None:
    directory(tmp_path, a=b"1")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with pytest.raises(DataError, match="link"):
        build_manifest(tmp_path, step="test", step_digest="0")


def test_the_newest_complete_checkpoint_is_restored(store: LocalStore, tmp_path: Path) -> None:
    checkpoints = Checkpoints(store, "checkpoints/step/abc")
    assert checkpoints.restore(tmp_path / "none") is None
    for done in (5, 10, 15):
        checkpoints.save(done, directory(tmp_path / str(done), state=str(done).encode()))
    store.delete("checkpoints/step/abc/00000015/manifest.json")  # cut off before its manifest was written
    assert checkpoints.restore(tmp_path / "back") == 10
    assert (tmp_path / "back" / "state").read_bytes() == b"10"
    checkpoints.clear()
    assert list(store.names("checkpoints")) == []


def test_old_checkpoints_are_thinned_out(store: LocalStore, tmp_path: Path) -> None:
    checkpoints = Checkpoints(store, "c")
    for done in range(1, 6):
        checkpoints.save(done, directory(tmp_path / "state", state=b"x"))
    assert {name.split("/")[1] for name in store.names("c")} == {"00000004", "00000005"}
