"""The object store's protocol, and the way from a URL to a store.

    store = open_store("/data/flowmap")                                   # or file:///data/flowmap
    store = open_store("s3://bucket/prefix?endpoint=http://host:9000")    # credentials from the environment

Layout below the store's root:
    artifacts/<digest>/...              bytes of an artifact, and its manifest.json
    steps/<step digest>.json            which result a step digest has
    checkpoints/<step>/<step digest>/   what an interrupted step resumes from
    tensorboard/<step>/<step digest>/   curves, as event files, while a step trains and after
    quarantine/...                      what was found damaged, before it was made again
    lineage/<digest>.json               who made what, when, where
    lineage/{made,used}/<artifact>/...  where to look for that
    lineage/log/<day>/<digest>          which records came on which day
    lineage/sources/<digest>.zip, .txt  code that ran, and what was installed beside it
    runs/<run id>/...                   what each step of one run did, the run's summary, nodes' logs
    models/<name>/<version>/...         published versions; immutable
    models/<name>/moves/<alias>/<number>.json   where an alias went; immutable too
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlparse

from flowmap.errors import ConfigError, IntegrityError
from flowmap.retrying import patience_s

MOST = 256 << 20  # bytes that are read at once: a manifest of a million files has 150 million


@dataclass(frozen=True)
class Listed:
    """An object as a listing has it.

    Attributes:
        size: in bytes.
        modified: when it was written, in UTC.
    """

    name: str
    size: int
    modified: datetime


class ObjectStore(Protocol):
    """Named bytes. Names are relative, with `/` between their parts.

    Every method raises StoreError when the store can't be reached or refuses; a torn write is never visible.
    """

    url: str

    def put_file(self, name: str, source: Path) -> None:
        """Write a file's bytes under `name`, whole or not at all; an object of that name is replaced."""

    def put(self, name: str, data: bytes) -> None:
        """Write bytes under `name`, whole or not at all; an object of that name is replaced."""

    def create(self, name: str, data: bytes) -> bool:
        """Write bytes when no object has that name; of many writers at once, exactly one is told True."""

    def get(self, name: str) -> bytes:
        """The object's bytes. KeyError without one, IntegrityError where they are more than `MOST`."""

    def chunks(self, name: str) -> Iterator[bytes]:
        """The object's bytes, a piece at a time. KeyError when there is none."""

    def exists(self, name: str) -> bool:
        """Whether an object has that name."""

    def names(self, prefix: str) -> Iterator[str]:
        """Names below `prefix/`, sorted, at every depth."""

    def listed(self, prefix: str) -> Iterator[Listed]:
        """Objects below `prefix/` with size and time, sorted by name, at every depth; and what a write that
        was cut off left there, where the store shows that."""

    def delete(self, name: str) -> None:
        """Remove the object; nothing happens when there is none."""


def joined(url: str, name: str, chunks: Iterable[bytes]) -> bytes:
    """An object's bytes in one piece, for `get`. Raises IntegrityError where they would fill the memory."""
    whole = bytearray()
    for chunk in chunks:
        whole += chunk
        if len(whole) > MOST:
            raise IntegrityError(
                f"{name} in {url} has more than {MOST:,} bytes: nothing so large is kept there"
            )
    return bytes(whole)


def read_there(store: ObjectStore, name: str) -> bytes:
    """An object that has to be there. Raises IntegrityError where it is gone, as may be what was listed a
    moment ago."""
    try:
        return store.get(name)
    except KeyError:
        raise IntegrityError(f"{name} is missing in {store.url}") from None


def open_store(url: str, *, patience: float | None = None) -> ObjectStore:
    """Open the store at `url`: a path, `file://PATH`, or `s3://bucket/prefix?endpoint=http://host:port`.

    One that is away is waited for `patience` seconds; None is as long as `retrying.patience_s` says.

    Raises:
        ConfigError: unknown scheme, missing bucket or endpoint, or no credentials in the environment.
    """
    parsed = urlparse(url)
    if parsed.scheme == "s3":
        from flowmap.artifacts.s3_store import S3Store

        return S3Store.from_url(url, patience_s() if patience is None else patience)
    from flowmap.artifacts.local_store import LocalStore

    path = unquote(parsed.path) if parsed.scheme else url
    if parsed.scheme not in ("", "file"):
        raise ConfigError(f"store {url!r}: unknown scheme {parsed.scheme!r}; use a path, file:// or s3://")
    if not path:
        raise ConfigError(f"store {url!r}: no path; use a path or file:///some/folder")
    return LocalStore(Path(path).expanduser())
