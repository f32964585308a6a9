"""Between a directory on disk and an artifact in the store, every byte checked on the way.

manifest = publish(store, directory, f"artifacts/{digest}", ...)   # the manifest goes last
fetch(store, manifest, directory)                                  # IntegrityError names what differs
verify(store, manifest)                                            # the same without keeping the bytes
faults(store, manifest)                                            # what is wrong with which file
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from flowmap.artifacts.digest import changed, sha256_of
from flowmap.artifacts.manifest import MANIFEST_NAME, FileEntry, Manifest, parse_manifest
from flowmap.artifacts.store import ObjectStore
from flowmap.errors import IntegrityError
from flowmap.progress import say

T = TypeVar("T")
_PARALLEL = 8
_TRIES = 3
_LARGE = 8 << 20  # bytes of a file that is hashed beside its coming
_BEHIND = 8  # chunks that may wait to be hashed


def artifact_prefix(digest: str) -> str:
    """Where an artifact lies in the store."""
    return f"artifacts/{digest}"


def publish(store: ObjectStore, directory: Path, manifest: Manifest, prefix: str | None = None) -> None:
    """Upload the files of `manifest` from `directory`, then the manifest itself: without it there is no
    artifact."""
    where = prefix or artifact_prefix(manifest.digest)

    def upload(entry: FileEntry) -> None:
        store.put_file(f"{where}/{entry.path}", directory / entry.path)

    _for_each(manifest, upload)
    store.put(f"{where}/{MANIFEST_NAME}", manifest.to_bytes())


def fetch(store: ObjectStore, manifest: Manifest, directory: Path, prefix: str | None = None) -> None:
    """Download the files of `manifest` and check each against its size and sha256."""
    where = prefix or artifact_prefix(manifest.digest)
    directory.mkdir(parents=True, exist_ok=True)

    def download(entry: FileEntry) -> None:
        target = directory / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)

        def write(chunks: Iterable[bytes]) -> None:
            with target.open("wb") as file:
                file.writelines(chunks)

        _read(store, manifest, entry, where, write)

    _for_each(manifest, download)


def fetch_either(
    store: ObjectStore, manifest: Manifest, directory: Path, prefix: str | None, spare: str | None
) -> None:
    """Fetch from `prefix`; where a file is damaged there, from a place with the same files, and say so."""
    try:
        fetch(store, manifest, directory, prefix)
    except IntegrityError as error:
        if spare is None:
            raise
        fetch(store, manifest, directory, spare)
        say(f"{str(error).partition(';')[0]}; read from {spare}/ instead")


def artifact_files(store: ObjectStore, digest: str) -> list[str]:
    """The paths of an artifact's files. Raises KeyError without one."""
    where = f"{artifact_prefix(digest)}/{MANIFEST_NAME}"
    return [entry.path for entry in parse_manifest(store.get(where), where=where).files]


def fetch_artifact(
    store: ObjectStore, digest: str, directory: Path, paths: Iterable[str] | None = None
) -> None:
    """Download an artifact, or some of its files, by its digest alone. Raises KeyError without one."""
    where = f"{artifact_prefix(digest)}/{MANIFEST_NAME}"
    manifest = parse_manifest(store.get(where), where=where)
    if paths is not None:
        manifest = manifest.model_copy(update={"files": tuple(map(manifest.entry, paths))})
    fetch(store, manifest, directory)


def verify(store: ObjectStore, manifest: Manifest, prefix: str | None = None) -> None:
    """Read every file of an artifact in the store and compare it with its manifest."""
    where = prefix or artifact_prefix(manifest.digest)
    _for_each(manifest, lambda entry: _read(store, manifest, entry, where, _drop))


def faults(store: ObjectStore, manifest: Manifest, prefix: str | None = None) -> dict[str, str]:
    """What is wrong with files of an artifact in the store, by their paths there; the manifest's own too.

    That may name another maker: who came to the same bytes later wrote it again.
    """
    where = prefix or artifact_prefix(manifest.digest)
    own = f"{where}/{MANIFEST_NAME}"

    def check(entry: FileEntry) -> tuple[str, str | None]:
        return f"{where}/{entry.path}", _problem(store, entry, where, _drop)

    found = None
    try:
        data, written = store.get(own), manifest.to_bytes()
        with contextlib.suppress(IntegrityError):
            there = parse_manifest(data, where=own)
            written = there.to_bytes() if there.digest == manifest.digest else written
        if data != written:
            found = changed(sha256_of(data), sha256_of(written))
    except KeyError:
        found = f"is missing in {store.url}"
    except IntegrityError as error:  # too large to be read at once
        found = str(error).removeprefix(f"{own} ")
    told = {own: found} | dict(_for_each(manifest, check))
    return {name: problem for name, problem in told.items() if problem is not None}


def set_aside(store: ObjectStore, name: str) -> str | None:
    """Copy a damaged object below `quarantine/`, for whoever wants to know what became of it.

    Returns:
        The copy's name; None where the object is missing.
    """
    kept = f"quarantine/{name}"
    with tempfile.NamedTemporaryFile() as file:
        try:
            file.writelines(store.chunks(name))
        except KeyError:
            return None
        file.flush()
        store.put_file(kept, Path(file.name))
    return kept


def _for_each(manifest: Manifest, work: Callable[[FileEntry], T]) -> list[T]:
    with ThreadPoolExecutor(_PARALLEL) as pool:
        return list(pool.map(work, manifest.files))


def _drop(chunks: Iterable[bytes]) -> None:
    for _ in chunks:
        pass


def _read(
    store: ObjectStore,
    manifest: Manifest,
    entry: FileEntry,
    where: str,
    consume: Callable[[Iterable[bytes]], None],
) -> None:
    problem = _problem(store, entry, where, consume)
    if problem is not None:
        raise IntegrityError(
            f"{where}/{entry.path} {problem}; step {manifest.step} wrote it: delete "
            f"steps/{manifest.step_digest}.json there to run that step again"
        )


def _problem(
    store: ObjectStore, entry: FileEntry, where: str, consume: Callable[[Iterable[bytes]], None]
) -> str | None:
    """Read one file and compare it; what differs is read again, for the fault may lie on the way."""
    problem = None
    for _ in range(_TRIES):
        read = _Measured(store.chunks(f"{where}/{entry.path}"), entry.size)
        try:
            consume(read)
        except KeyError:
            return f"is missing in {store.url}"
        if read.size != entry.size:
            more = "at least " if read.size > entry.size else ""
            problem = f"has {more}{read.size} bytes instead of {entry.size}"
        elif (found := read.digest.hexdigest()) != entry.sha256:
            problem = changed(found, entry.sha256)
        else:
            return None
    return problem


class _Measured:
    """Passes chunks on and keeps their size and sha256; with one that is too much it ends."""

    def __init__(self, chunks: Iterator[bytes], expected: int) -> None:
        self.size, self.digest, self._chunks, self._expected = 0, hashlib.sha256(), chunks, expected

    def __iter__(self) -> Iterator[bytes]:
        if self._expected < _LARGE:
            for chunk in self._counted():
                self.digest.update(chunk)
                yield chunk
        else:
            yield from self._hashed_behind()

    def _hashed_behind(self) -> Iterator[bytes]:
        """Hash while the next chunks come and are written: of a large file it takes the longest."""
        with ThreadPoolExecutor(1) as hasher:
            waiting: deque[Future[None]] = deque()
            for chunk in self._counted():
                waiting.append(hasher.submit(self.digest.update, chunk))
                yield chunk
                if len(waiting) > _BEHIND:
                    waiting.popleft().result()

    def _counted(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.size += len(chunk)
            yield chunk
            if self.size > self._expected:
                return
