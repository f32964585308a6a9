"""Buckets that encrypt, that lock their objects, and that are a part of the host's name: on a real MinIO."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from minio.commonconfig import GOVERNANCE
from minio.objectlockconfig import DAYS, ObjectLockConfig
from minio.sseconfig import Rule, SSEConfig

from flowmap.artifacts.manifest import build_manifest
from flowmap.artifacts.store import ObjectStore, open_store
from flowmap.artifacts.transfer import fetch, publish
from flowmap.errors import ConfigError
from tests.artifacts.faulty_proxy import faulty_proxy
from tests.minio_server import CREDENTIALS, MinioServer, minio_binary

HOST = "s3.example.test"
LARGE = 17 << 20  # more than one part


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    """One with a key to encrypt with, that knows its own name."""
    environment = {
        "MINIO_KMS_SECRET_KEY": "flowmap-tests:bXktMzItYnl0ZS1zZWNyZXQta2V5LWZvci1mbG93bWE=",
        "MINIO_DOMAIN": HOST,
    }
    server = MinioServer(minio_binary(), tmp_path_factory.mktemp("minio"), environment=environment)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        yield server
    server.stop()


def does_its_work(store: ObjectStore, folder: Path) -> None:
    """An artifact there and back, what is written once, what is written again, and what goes."""
    folder.mkdir()
    (folder / "large.bin").write_bytes(os.urandom(LARGE))
    (folder / "small.txt").write_text("small")
    manifest = build_manifest(folder, step="test", step_digest="0" * 64)
    publish(store, folder, manifest, "artifacts/a")
    back = folder.parent / f"{folder.name}-back"
    back.mkdir()
    fetch(store, manifest, back, "artifacts/a")
    assert (back / "large.bin").read_bytes() == (folder / "large.bin").read_bytes()
    assert store.create("models/m/1", b"first")
    assert not store.create("models/m/1", b"second")
    assert store.get("models/m/1") == b"first"
    store.put("runs/state", b"one")
    store.put("runs/state", b"two")
    assert store.get("runs/state") == b"two"
    store.delete("runs/state")
    assert not store.exists("runs/state")
    assert list(store.names("models")) == ["models/m/1"]


def test_a_bucket_that_encrypts(server: MinioServer, tmp_path: Path) -> None:
    server.make_bucket("encrypted")
    server.client().set_bucket_encryption("encrypted", SSEConfig(Rule.new_sse_s3_rule()))
    does_its_work(open_store(f"s3://encrypted/p?endpoint={server.endpoint}"), tmp_path / "a")
    for name in ("p/artifacts/a/large.bin", "p/models/m/1"):
        found = server.client().stat_object("encrypted", name)
        assert found.metadata is not None
        assert found.metadata["x-amz-server-side-encryption"] == "AES256"


def test_a_bucket_that_locks_what_lies_in_it(server: MinioServer, tmp_path: Path) -> None:
    server.make_bucket("locked", object_lock=True)
    server.client().set_object_lock_config("locked", ObjectLockConfig(GOVERNANCE, 1, DAYS))
    store = open_store(f"s3://locked/p?endpoint={server.endpoint}")
    does_its_work(store, tmp_path / "a")
    name = "p/models/m/1"
    assert server.client().get_object_retention("locked", name) is not None
    version = server.client().stat_object("locked", name).version_id
    store.delete("models/m/1")  # hides it, and its bytes stay
    assert not store.exists("models/m/1")
    answer = server.client().get_object("locked", name, version_id=version)
    assert answer.data == b"first"


def test_a_bucket_that_is_a_part_of_the_host_s_name(
    server: MinioServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.make_bucket("named")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with faulty_proxy(server.endpoint) as (proxy, faults):
        monkeypatch.setenv("http_proxy", proxy)
        store = open_store(f"s3://named/p?endpoint=http://{HOST}&addressing=virtual")
        does_its_work(store, tmp_path / "a")
        again = open_store(store.url)  # as a worker opens it
        assert again.get("models/m/1") == b"first"
    asked = {path.partition("?")[0] for _, path in faults.seen}
    assert asked
    assert all(path.startswith(f"http://named.{HOST}/") for path in asked)


def test_another_addressing_is_refused() -> None:
    with pytest.raises(ConfigError, match="addressing is path or virtual, not 'virtual-host'"):
        open_store("s3://bucket?endpoint=http://h&addressing=virtual-host")
