"""What stores and networks do to a run: repeated where it may pass, told clearly where it may not, never
half-done."""

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowmap.artifacts.manifest import build_manifest
from flowmap.artifacts.s3_store import Patience, S3Store
from flowmap.artifacts.store import ObjectStore, open_store
from flowmap.artifacts.transfer import fetch, publish
from flowmap.errors import ConfigError, IntegrityError, StoreError
from tests.artifacts.faulty_proxy import Fault, Faults, faulty_proxy
from tests.minio_server import CREDENTIALS, MinioServer

DATA = random.Random(1).randbytes(3 << 20)


@pytest.fixture
def faulty(minio: MinioServer) -> Iterator[tuple[ObjectStore, Faults]]:
    with faulty_proxy(minio.endpoint) as (endpoint, faults):
        yield S3Store(endpoint, "flowmap", uuid.uuid4().hex, Patience(longest_s=0.3)), faults


def first_times(fault: Fault, num: int, method: str) -> Callable[[str, str, int], Fault | None]:
    """The fault for the first few requests of a method, each path counted by itself."""
    return lambda seen, path, earlier: fault if seen == method and earlier < num else None


@pytest.mark.parametrize("fault", ["500", "503", "reset", "lost answer"])
def test_an_upload_is_repeated_until_it_passes(
    faulty: tuple[ObjectStore, Faults], tmp_path: Path, fault: Fault
) -> None:
    store, faults = faulty
    (tmp_path / "f").write_bytes(DATA)
    faults.choose = first_times(fault, 3, "PUT")
    store.put_file("x", tmp_path / "f")
    store.put("y", b"small")
    assert max(faults.seen.values()) == 4
    assert (store.get("x"), store.get("y")) == (DATA, b"small")


@pytest.mark.parametrize("fault", ["500", "503", "reset", "cut"])
def test_a_download_is_repeated_or_goes_on_where_it_broke(
    faulty: tuple[ObjectStore, Faults], fault: Fault
) -> None:
    store, faults = faulty
    store.put("x", DATA)
    faults.choose = first_times(fault, 3, "GET")
    assert b"".join(store.chunks("x")) == DATA
    assert faults.seen.total() > 4


def test_a_lost_answer_does_not_make_a_creation_fail(faulty: tuple[ObjectStore, Faults]) -> None:
    store, faults = faulty
    faults.choose = first_times("lost answer", 1, "PUT")
    assert store.create("x", b"mine")
    faults.choose = lambda method, path, earlier: None
    assert not store.create("x", b"other")
    assert store.get("x") == b"mine"


def test_wrong_bytes_on_the_way_are_read_again_and_in_the_store_are_named(
    faulty: tuple[ObjectStore, Faults], tmp_path: Path
) -> None:
    store, faults = faulty
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "f").write_bytes(DATA)
    manifest = build_manifest(tmp_path / "made", step="test", step_digest="0")
    publish(store, tmp_path / "made", manifest)
    faults.choose = first_times("garble", 2, "GET")
    fetch(store, manifest, tmp_path / "copy")
    assert (tmp_path / "copy" / "f").read_bytes() == DATA
    faults.choose = lambda method, path, earlier: "garble" if method == "GET" else None
    with pytest.raises(IntegrityError, match="/f was changed"):
        fetch(store, manifest, tmp_path / "copy")


def test_a_store_that_stays_broken_is_told(faulty: tuple[ObjectStore, Faults]) -> None:
    store, faults = faulty
    faults.choose = lambda method, path, earlier: "cut" if method == "GET" else None
    store.put("x", DATA)
    with pytest.raises(StoreError, match="broke off 5 times at x"):
        store.get("x")


def test_a_store_that_goes_away_in_mid_upload_and_comes_back_is_waited_for(
    minio: MinioServer, tmp_path: Path
) -> None:
    store = open_store(f"s3://flowmap/{uuid.uuid4().hex}?endpoint={minio.endpoint}")
    (tmp_path / "f").write_bytes(random.Random(2).randbytes(48 << 20))
    minio.stop()
    upload = threading.Thread(target=lambda: store.put_file("x", tmp_path / "f"))
    upload.start()
    time.sleep(1)
    minio.start()
    time.sleep(0.1)
    minio.stop()
    time.sleep(1)
    minio.start()
    upload.join(120)
    assert not upload.is_alive()
    assert store.get("x") == (tmp_path / "f").read_bytes()


@pytest.mark.parametrize(
    ("environment", "url", "told"),
    [
        (
            {"AWS_ACCESS_KEY_ID": "nobody"},
            "s3://flowmap/x",
            "does not know the access key; look at AWS_ACCESS_KEY_ID",
        ),
        (
            {"AWS_SECRET_ACCESS_KEY": "wrong"},
            "s3://flowmap/x",
            "the secret key is wrong; look at AWS_SECRET_ACCESS",
        ),
        ({}, "s3://absent/x", "the bucket does not exist; make it first"),
    ],
)
def test_what_no_patience_helps_against_is_told_at_once(
    minio: MinioServer, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str, told: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    store = open_store(f"{url}?endpoint={minio.endpoint}")
    with pytest.raises(StoreError, match=told):
        store.put("x", b"")


def test_an_unreachable_store_is_told_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    store = open_store("s3://flowmap/x?endpoint=http://127.0.0.1:1", patient=False)
    with pytest.raises(StoreError, match=r"can't be reached .*refused.*is it running"):
        store.exists("x")


def test_without_credentials_the_variables_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*CREDENTIALS, "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        open_store("s3://flowmap/x?endpoint=http://127.0.0.1:1")
