"""Between a directory on disk and an artifact in the store, every byte checked on the way.

manifest = publish(store, directory, f"artifacts/{digest}", ...)     # the manifest goes last
fetch(store, manifest, directory)                                    # IntegrityError names the file that differs
verify(store, manifest)                                              # the same without keeping the bytes
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from flowmap.artifacts.manifest import MANIFEST_NAME, FileEntry, Manifest, parse_manifest
from flowmap.artifacts.store import ObjectStore
from flowmap.errors import IntegrityError

_PARALLEL = 8


def artifact_prefix(digest: str) -> str:
    """Where an artifact lies in the store."""
    return f"artifacts/{digest}"


def publish(store: ObjectStore, directory: Path, manifest: Manifest, prefix: str | None = None) -> None:
    """Upload the files of `manifest` from `directory`, then the manifest itself: without it there is no artifact."""
    where = prefix or artifact_prefix(manifest.digest)

    def upload(entry: FileEntry) -> None:
        store.put_file(f"{where}/{entry.path}", directory / entry.path)

    _for_each(manifest, upload)
    store.put(f"{where}/{MANIFEST_NAME}", manifest.to_bytes())


def fetch(
    store: ObjectStore, manifest: Manifest, directory: Path, prefix: str | None = None, only: set[str] | None = None
) -> None:
    """Download the files of `manifest` (those in `only`, when given) and check each against its size and sha256."""
    where = prefix or artifact_prefix(manifest.digest)
    directory.mkdir(parents=True, exist_ok=True)

    def download(entry: FileEntry) -> None:
        if only is not None and entry.path not in only:
            return
        target = directory / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            _check(store, manifest, entry, where, file.write)

    _for_each(manifest, download)


def verify(store: ObjectStore, manifest: Manifest, prefix: str | None = None) -> None:
    """Read every file of an artifact in the store and compare it with its manifest."""
    where = prefix or artifact_prefix(manifest.digest)
    _for_each(manifest, lambda entry: _check(store, manifest, entry, where, lambda chunk: None))


def stored_manifest(store: ObjectStore, digest: str) -> Manifest:
    """The manifest of an artifact in the store. Raises IntegrityError when it is missing or does not fit its digest."""
    name = f"{artifact_prefix(digest)}/{MANIFEST_NAME}"
    try:
        manifest = parse_manifest(store.get(name), where=name)
    except KeyError:
        raise IntegrityError(f"{name} is missing in {store.url}; delete steps/ there to compute it again") from None
    if manifest.digest != digest:
        raise IntegrityError(f"{name} belongs to another artifact, {manifest.digest}")
    return manifest


def _for_each(manifest: Manifest, work: Callable[[FileEntry], object]) -> None:
    with ThreadPoolExecutor(_PARALLEL) as pool:
        list(pool.map(work, manifest.files))


def _check(
    store: ObjectStore, manifest: Manifest, entry: FileEntry, where: str, write: Callable[[bytes], object]
) -> None:
    name = f"{where}/{entry.path}"
    advice = f"step {manifest.step} wrote it; delete steps/{manifest.step_digest}.json there to run that again"
    digest, size = hashlib.sha256(), 0
    try:
        for chunk in store.chunks(name):
            digest.update(chunk)
            size += len(chunk)
            write(chunk)
    except KeyError:
        raise IntegrityError(f"{name} is missing in {store.url}; {advice}") from None
    if size != entry.size:
        raise IntegrityError(f"{name} has {size} bytes instead of {entry.size}; {advice}")
    if digest.hexdigest() != entry.sha256:
        raise IntegrityError(f"{name} was changed after it was written (sha256 differs); {advice}")
