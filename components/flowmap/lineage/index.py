"""An index of a store's records for questions with long answers: what came of data that thousands of runs
used.

    with RecordIndex.opened(store) as index:       # made where there is none, brought up to date otherwise
        index.made_of(digest)                      # {artifact: step} of all that was made of it

A file on this machine, SQLite, made from the records and nothing else; it may be deleted at any time, and
nothing that verifies reads it. Up to date means: each record is also named in `lineage/log/<day>/`, and the
days since the last look are listed. What is logged under an older day by then, as by a clock that is days
behind, is found when the index is made anew.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from flowmap.artifacts.digest import is_digest, sha256_of
from flowmap.artifacts.store import ObjectStore
from flowmap.errors import IntegrityError
from flowmap.lineage.edges import read_record
from flowmap.lineage.log import logged_on
from flowmap.lineage.record import RECORDS, StepRecord
from flowmap.progress import say

_VERSION = 2
_IN_MEMORY = ":memory:"
_WAIT_S = 600  # for another who brings it up to date
_PARALLEL = 16
_TOLD_FROM = 2000  # records that take long enough to be worth a word
_CLOCKS = timedelta(days=1)  # that machines' days may differ by
_SCHEMA = """
CREATE TABLE about (version INTEGER, store TEXT, day TEXT);
CREATE TABLE record (digest BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE unread (digest BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE made (input BLOB, output BLOB, step TEXT, PRIMARY KEY (input, output, step)) WITHOUT ROWID;
"""
_MADE_OF = """
WITH RECURSIVE reached (output, step) AS (
    SELECT output, step FROM made WHERE input = ?
    UNION
    SELECT made.output, made.step FROM reached JOIN made ON made.input = reached.output
)
SELECT lower(hex(output)), step FROM reached
"""


class RecordIndex:
    """The index of one store."""

    def __init__(self, store: ObjectStore, connection: sqlite3.Connection) -> None:
        self._store, self._connection = store, connection

    @classmethod
    @contextlib.contextmanager
    def opened(cls, store: ObjectStore) -> Iterator[RecordIndex]:
        """Up to date; one that can't be read, or is of another flowmap, is made anew. Where no file can be
        written it lives in memory."""
        path = path_of(store)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            index = cls._fresh(store, str(path))
        except sqlite3.DatabaseError:
            with contextlib.suppress(OSError):
                path.unlink()
            index = cls._fresh(store, str(path) if os.access(path.parent, os.W_OK) else _IN_MEMORY)
        except OSError:
            index = cls._fresh(store, _IN_MEMORY)
        with contextlib.closing(index._connection):
            yield index

    @classmethod
    def _fresh(cls, store: ObjectStore, path: str) -> RecordIndex:
        connection = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)
        index = cls(store, connection)
        try:
            index.refresh()
        except BaseException:
            connection.close()
            raise
        return index

    def unread(self) -> list[str]:
        """Digests of records that are gone or not what they were: what they made is left out of answers."""
        found = self._connection.execute("SELECT lower(hex(digest)) FROM unread ORDER BY digest")
        return [digest for (digest,) in found]

    def made_of(self, digest: str) -> dict[str, str]:
        """All that was made of something, directly or not: the digest of each artifact, and its step."""
        return dict(self._connection.execute(_MADE_OF, (bytes.fromhex(digest),)))

    def refresh(self) -> int:
        """Take in the records that are new; returns how many."""
        today = datetime.now(UTC).date()
        with _transaction(self._connection):
            if self._connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise sqlite3.DatabaseError("the file is damaged")
            day = self._last_day()
            known = {digest.hex() for (digest,) in self._connection.execute("SELECT digest FROM record")}
            names = _all(self._store) if day is None else _since(self._store, day - _CLOCKS, today)
            new = sorted({*names, *self.unread()} - known)
            if len(new) >= _TOLD_FROM:
                say(f"indexing {len(new):,} records of {self._store.url}")
            self._connection.execute("DELETE FROM unread")
            for digest, record in _read(self._store, new):
                if record is None:
                    self._connection.execute("INSERT INTO unread VALUES (?)", (bytes.fromhex(digest),))
                    continue
                output = bytes.fromhex(record.output)
                inputs = filter(is_digest, record.inputs.values())
                self._connection.execute("INSERT INTO record VALUES (?)", (bytes.fromhex(digest),))
                self._connection.executemany(
                    "INSERT OR IGNORE INTO made VALUES (?, ?, ?)",
                    [(bytes.fromhex(each), output, record.step) for each in inputs],
                )
            self._connection.execute("UPDATE about SET day = ?", (today.isoformat(),))
        return len(new)

    def _last_day(self) -> date | None:
        """Of the last look; None, and empty tables, where there was none."""
        with contextlib.suppress(sqlite3.OperationalError):  # no such table
            for version, url, day in self._connection.execute("SELECT * FROM about"):
                if version == _VERSION and url == self._store.url and day is not None:
                    return date.fromisoformat(day)
        for table in ("about", "record", "unread", "made"):
            self._connection.execute(f"DROP TABLE IF EXISTS {table}")
        for statement in filter(str.strip, _SCHEMA.split(";")):
            self._connection.execute(statement)
        self._connection.execute("INSERT INTO about VALUES (?, ?, NULL)", (_VERSION, self._store.url))
        return None


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing, tables too."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def path_of(store: ObjectStore) -> Path:
    """Where this machine keeps a store's index: below XDG_CACHE_HOME, or ~/.cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "flowmap" / "lineage" / f"{sha256_of(store.url.encode())[:16]}.sqlite"


def _all(store: ObjectStore) -> Iterator[str]:
    for name in store.names(RECORDS):
        digest = name.removeprefix(f"{RECORDS}/").removesuffix(".json")
        if is_digest(digest):
            yield digest


def _since(store: ObjectStore, day: date, today: date) -> Iterator[str]:
    while day <= today + _CLOCKS:
        yield from logged_on(store, day)
        day += timedelta(days=1)


def _read(store: ObjectStore, digests: Iterable[str]) -> Iterator[tuple[str, StepRecord | None]]:
    """Records as they were written; None for what was changed since, which `verify` tells of."""

    def read(digest: str) -> tuple[str, StepRecord | None]:
        try:
            record = read_record(store, digest)
        except (IntegrityError, ValueError):
            return digest, None
        return digest, record if is_digest(record.output) else None

    def is_there(digest: str) -> bool:
        return store.exists(f"{RECORDS}/{digest}.json")  # a run that was killed has named it before

    with ThreadPoolExecutor(_PARALLEL) as pool:
        for digest, record in pool.map(read, digests):
            if record is not None or is_there(digest):
                yield digest, record
