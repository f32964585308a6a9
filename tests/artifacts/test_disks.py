"""A real full disk and a real read-only one: a small file system in memory, where the system lets us mount
it."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from flowmap.artifacts.local_store import LocalStore
from flowmap.artifacts.manifest import build_manifest
from flowmap.artifacts.transfer import fetch, publish
from flowmap.errors import StoreError, full_disk_told
from tests.faults import fault
from tests.pipeline.runs import run


def mount(*options: str) -> bool:
    program = shutil.which("mount")
    return (
        program is not None
        and subprocess.run([program, *options], capture_output=True, check=False).returncode == 0
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)):
        # A disk runs full for root too only when it is a file system of its own, and making one takes root.
        pytest.skip("no right to mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_keeps_what_was_there_and_is_told(small_disk: Path, tmp_path: Path) -> None:
    store, large = LocalStore(small_disk / "store"), tmp_path / "large"
    large.write_bytes(b"x" * (2 << 20))
    store.put("kept", b"old")
    for name in ("kept", "new"):
        with pytest.raises(StoreError, match=rf"is full \(\d+ MB left\) at {name}; make room and run again"):
            store.put_file(name, large)
    assert store.get("kept") == b"old"
    assert [path.name for path in small_disk.rglob("*") if path.is_file()] == ["kept"]
    assert mount("-o", "remount,size=4m", str(small_disk))
    store.put_file("new", large)
    assert len(store.get("new")) == 2 << 20


def test_a_large_file_that_does_not_fit_ends_the_download(small_disk: Path, tmp_path: Path) -> None:
    """It is hashed beside its coming: what the disk says reaches who waits for the file."""
    source, store = tmp_path / "source", LocalStore(tmp_path / "store")
    source.mkdir()
    (source / "large").write_bytes(bytes(12 << 20))
    manifest = build_manifest(source, step="s", step_digest="d")
    publish(store, source, manifest)
    fetch(store, manifest, tmp_path / "whole")
    assert (tmp_path / "whole" / "large").read_bytes() == bytes(12 << 20)
    with pytest.raises(StoreError, match="no space is left"), full_disk_told():
        fetch(store, manifest, small_disk / "copy")


@fault(
    "a disk can only be read",
    "nobody",
    "",
    "the message names it",
    of="processes",
)
def test_a_read_only_disk_is_told(small_disk: Path) -> None:
    store = LocalStore(small_disk / "store")
    store.put("kept", b"old")
    assert mount("-o", "remount,ro", str(small_disk))
    for change in (lambda: store.put("kept", b"new"), lambda: store.create("new", b"new")):
        with pytest.raises(StoreError, match="does not allow it"):
            change()
    assert store.get("kept") == b"old"


@fault(
    "a disk is full",
    "nobody",
    "",
    "the message names it and what was said",
    of="processes",
)
def test_a_run_on_a_full_disk_ends_with_one_message(small_disk: Path) -> None:
    stopped = run(small_disk / "root")
    assert stopped.status == 1
    last = stopped.told.rstrip().splitlines()[-1]
    assert last.startswith("flowmap: data_prep: ")
    assert last.endswith(("make room and run again", "make room and run the same command again"))
    assert "Traceback" not in stopped.told
    assert not list((small_disk / "root" / "store").glob("steps/*"))


def test_what_libraries_make_of_a_full_disk_becomes_one_message() -> None:
    """/dev/full answers every write as a full disk does."""
    with pytest.raises(StoreError, match=r"no space is left for .*; make room"), full_disk_told():
        Path("/dev/full").write_bytes(b"x")
    with pytest.raises(StoreError, match="no space is left"), full_disk_told():
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    with pytest.raises(ValueError, match="another defect"), full_disk_told():
        raise ValueError("another defect")


def test_a_defect_stays_one_however_full_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    full = SimpleNamespace(total=1, used=1, free=0)
    monkeypatch.setattr("flowmap.errors.shutil.disk_usage", lambda _: full)
    with pytest.raises(KeyError), full_disk_told():
        raise KeyError("a defect")
    with (
        pytest.raises(StoreError, match=r"\(PytorchStreamWriter failed writing file\); make room"),
        full_disk_told(),
    ):
        raise RuntimeError("PytorchStreamWriter failed writing file")
