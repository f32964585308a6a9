"""Stores and artifacts: nothing half-written is seen, and no changed byte goes unnoticed."""

import errno
import os
import random
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flowmap.artifacts.checkpoints import Checkpoints
from flowmap.artifacts.local_store import LocalStore
from flowmap.artifacts.manifest import Manifest, build_manifest, parse_manifest
from flowmap.artifacts.store import ObjectStore, open_store
from flowmap.artifacts.transfer import artifact_prefix, faults, fetch, publish, verify
from flowmap.errors import ConfigError, DataError, IntegrityError, StoreError
from tests.faults import fault


@pytest.fixture(params=["local", "minio"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """Every kind of store; each test gets an empty one."""
    if request.param == "local":
        return LocalStore(tmp_path / "store")
    endpoint = request.getfixturevalue("minio").endpoint
    return open_store(f"s3://flowmap/{uuid.uuid4().hex}?endpoint={endpoint}")


def directory(path: Path, **files: bytes) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def published(store: ObjectStore, path: Path) -> Manifest:
    manifest = build_manifest(
        directory(path / "made", a=b"alpha", b=b"beta" * 1000), step="test", step_digest="0"
    )
    publish(store, path / "made", manifest)
    return manifest


def test_what_was_put_is_what_is_read(store: ObjectStore, tmp_path: Path) -> None:
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


@fault(
    "a manifest, a record or a version is as large as the memory",
    "no more than 256 MiB of one are read, and it is named",
    of="writing",
)
def test_what_is_too_large_to_be_read_at_once_is_named(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = published(store, tmp_path)
    where = f"{artifact_prefix(manifest.digest)}/manifest.json"
    monkeypatch.setattr("flowmap.artifacts.store.MOST", 3 << 20)
    store.put(where, b"[" * (3 << 20))
    assert len(store.get(where)) == 3 << 20
    store.put(where, b"[" * (4 << 20))
    with pytest.raises(IntegrityError, match=f"{where} in .* has more than 3,145,728 bytes"):
        store.get(where)
    assert faults(store, manifest) == {
        where: f"in {store.url} has more than 3,145,728 bytes: nothing so large is kept there"
    }


def test_of_many_writers_exactly_one_creates(store: ObjectStore) -> None:
    with ThreadPoolExecutor(16) as pool:
        created = list(pool.map(lambda i: store.create("one", str(i).encode()), range(64)))
    assert created.count(True) == 1
    assert store.get("one") == str(created.index(True)).encode()


def test_without_hard_links_exactly_one_creates_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    store = LocalStore(tmp_path)
    test_of_many_writers_exactly_one_creates(store)
    assert {path.name for path in tmp_path.iterdir()} == {"one", ".creating"}


def test_the_umask_says_who_may_use_a_local_store(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        LocalStore(tmp_path).put("d/x", b"1")
    finally:
        os.umask(before)
    assert (tmp_path / "d").stat().st_mode & 0o777 == 0o775
    assert (tmp_path / "d" / "x").stat().st_mode & 0o777 == 0o664


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_store("~/store").url == (tmp_path / "store").as_uri()


def test_a_local_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path)
    store.put("d/x", b"before")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="is full"):
        store.put("d/x", b"after")
    assert store.get("d/x") == b"before"
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["x"]


def test_large_objects_go_in_parts_and_come_back_whole(store: ObjectStore, tmp_path: Path) -> None:
    data = random.Random(0).randbytes(40 << 20)
    store.put_file("large", directory(tmp_path, f=data) / "f")
    assert b"".join(store.chunks("large")) == data


def test_names_are_sorted_and_stop_at_the_prefix(store: ObjectStore) -> None:
    for name in ("a/2", "a/10", "ab/1", "a/b/c"):
        store.put(name, b"")
    assert list(store.names("a")) == ["a/10", "a/2", "a/b/c"]
    assert list(store.names("nothing")) == []


def test_a_listing_has_sizes_and_times(store: ObjectStore) -> None:
    before = datetime.now(UTC) - timedelta(minutes=1)
    for name in ("a/2", "a/10", "ab/1", "a/b/c"):
        store.put(name, name.encode())
    found = list(store.listed("a"))
    assert [(each.name, each.size) for each in found] == [("a/10", 4), ("a/2", 3), ("a/b/c", 5)]
    assert all(before < each.modified < datetime.now(UTC) + timedelta(minutes=1) for each in found)
    assert list(store.listed("nothing")) == []


@fault(
    "a name leads out of the store",
    "refused",
    of="writing",
)
@pytest.mark.parametrize("name", ["", "/etc/passwd", "../outside", "a/../../outside"])
def test_a_name_outside_the_store_is_refused(store: ObjectStore, name: str) -> None:
    with pytest.raises(StoreError, match="not a name inside"):
        store.put(name, b"")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ftp://host/path", "unknown scheme 'ftp'"),
        ("s3://bucket/x", "no endpoint"),
        ("s3://bucket/x?endpoint=host:9000", "no endpoint"),
        ("s3:///x?endpoint=http://host:9000", "no bucket"),
        ("s3://b/x?endpoint=http://host:9000", "no bucket"),
        ("s3://key:secret@bucket/x?endpoint=http://host:9000", "credentials do not belong"),
        ("s3://bucket/x?endpoint=http://host:9000&region=x", "unknown region"),
        ("s3://bucket/x?endpoint=https://host/minio", "an endpoint has no path, and /minio is one"),
    ],
)
def test_a_wrong_url_is_explained(url: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        open_store(url)
    assert "secret@" not in str(caught.value)


def test_an_artifact_comes_back_as_it_went_in(store: ObjectStore, tmp_path: Path) -> None:
    manifest = published(store, tmp_path)
    fetch(store, manifest, tmp_path / "copy")
    assert (tmp_path / "copy" / "b").read_bytes() == b"beta" * 1000
    stored = store.get(f"{artifact_prefix(manifest.digest)}/manifest.json")
    assert parse_manifest(stored, where="there") == manifest


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
def test_a_damaged_file_is_named(
    store: ObjectStore, tmp_path: Path, damage: bytes | None, told: str
) -> None:
    manifest = published(store, tmp_path)
    name = f"{artifact_prefix(manifest.digest)}/a"
    if damage is None:
        store.delete(name)
    else:
        store.put(name, damage)
    checks: tuple[Callable[[], None], ...] = (
        lambda: verify(store, manifest),
        lambda: fetch(store, manifest, tmp_path / "copy"),
    )
    for check in checks:
        with pytest.raises(IntegrityError, match=told) as caught:
            check()
        assert name in str(caught.value)


def test_a_changed_manifest_is_noticed(store: ObjectStore, tmp_path: Path) -> None:
    manifest = published(store, tmp_path)
    data = manifest.to_bytes().replace(manifest.files[0].sha256[:8].encode(), b"00000000")
    with pytest.raises(IntegrityError, match="list of files was changed"):
        parse_manifest(data, where="here")
    with pytest.raises(IntegrityError, match="here is not a manifest"):
        parse_manifest(b"{", where="here")


@fault(
    "an artifact has a link in it",
    "no artifact is made",
    of="writing",
)
def test_a_link_can_not_be_part_of_an_artifact(tmp_path: Path) -> None:
    directory(tmp_path, a=b"1")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with pytest.raises(DataError, match="link"):
        build_manifest(tmp_path, step="test", step_digest="0")


def test_the_newest_complete_checkpoint_is_restored(store: ObjectStore, tmp_path: Path) -> None:
    checkpoints = Checkpoints(store, "checkpoints/step/abc")
    assert checkpoints.restore(tmp_path / "none") is None
    for done in (5, 10, 15):
        checkpoints.save(done, directory(tmp_path / str(done), state=str(done).encode()))
    store.delete("checkpoints/step/abc/00000015/complete")  # cut off while it was written
    assert checkpoints.restore(tmp_path / "back") == 10
    assert (tmp_path / "back" / "state").read_bytes() == b"10"
    checkpoints.clear()
    assert list(store.names("checkpoints")) == []


def test_old_checkpoints_are_thinned_out(store: ObjectStore, tmp_path: Path) -> None:
    checkpoints = Checkpoints(store, "c")
    for done in range(1, 6):
        checkpoints.save(done, directory(tmp_path / "state", state=b"x"))
    assert {name.split("/")[1] for name in store.names("c")} == {"00000004", "00000005"}


@pytest.mark.parametrize("at", [0, 9 << 20, -1])
def test_of_a_large_file_each_byte_is_hashed(at: int, tmp_path: Path) -> None:
    source, store = tmp_path / "source", LocalStore(tmp_path / "store")
    source.mkdir()
    (source / "large").write_bytes(bytes(12 << 20))
    manifest = build_manifest(source, step="s", step_digest="d")
    publish(store, source, manifest)
    changed = bytearray(12 << 20)
    changed[at] = 1
    store.put(f"artifacts/{manifest.digest}/large", bytes(changed))
    with pytest.raises(IntegrityError, match=r"large was changed after it was written \(sha256 differs: "):
        fetch(store, manifest, tmp_path / "copy")
    with pytest.raises(IntegrityError, match="sha256 differs"):
        verify(store, manifest)
