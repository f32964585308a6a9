"""Edges between artifacts and the records of what made and used them: a question costs what its answer is
long.

    for record in makers(store, digest): ...      # who made that artifact
    for each in user_digests(store, digest, 10): ...    # records of who made something of it

An edge is an empty object whose name says all: `lineage/made/<artifact>/<record>` and
`lineage/used/<artifact>/<record>`. Records of a flowmap from before there were edges are indexed once, by
whoever asks first and may write.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from flowmap.artifacts.store import ObjectStore
from flowmap.errors import IntegrityError, Spoiled
from flowmap.lineage.kept import read_kept_bytes
from flowmap.lineage.record import RECORDS, StepRecord, write_edges

_MADE, _USED, _INDEXED = f"{RECORDS}/made", f"{RECORDS}/used", f"{RECORDS}/indexed"
_PARALLEL = 8


def makers(store: ObjectStore, artifact: str, spoiled: Spoiled | None = None) -> dict[str, StepRecord]:
    """The records, by their digests, of the steps that made or reused an artifact; the maker's first.

    Args: spoiled: as for `read_records`.
    """
    named = (name.rsplit("/", 1)[1] for name in store.names(f"{_MADE}/{artifact}"))
    found = read_records(store, named, spoiled)
    return dict(sorted(found.items(), key=lambda item: (item[1].reused, item[1].finished_at)))


def user_digests(store: ObjectStore, digest: str, most: int) -> list[str]:
    """Digests of the records of the steps that took an artifact, or data from outside, as an input; so many
    of them at most."""
    names = itertools.islice(store.names(f"{_USED}/{digest}"), most)
    return [name.rsplit("/", 1)[1] for name in names]


def read_record(store: ObjectStore, digest: str) -> StepRecord:
    """A record by its digest. Raises IntegrityError where it is gone or is not what it was."""
    return StepRecord.model_validate_json(read_kept_bytes(store, f"{RECORDS}/{digest}.json", digest))


def add_missing_edges(store: ObjectStore) -> int:
    """Write the edges of records that have none, once for a store; returns how many records that were.

    One that was changed after it was written gets none: whoever verifies is told of it.
    """
    if store.exists(_INDEXED):
        return 0
    names = list(store.names(RECORDS))
    digests = {
        name.removeprefix(f"{RECORDS}/").removesuffix(".json") for name in names if name.count("/") == 1
    }
    known = {name.rsplit("/", 1)[1] for name in names if name.startswith(f"{_MADE}/")}
    num = 0
    for digest in sorted(digests - known):
        try:
            record = read_record(store, digest)
        except (IntegrityError, ValueError):
            continue
        write_edges(store, digest, record)
        num += 1
    store.create(_INDEXED, b"")
    return num


def read_records(
    store: ObjectStore, digests: Iterable[str], spoiled: Spoiled | None = None
) -> dict[str, StepRecord]:
    """Records by their digests.

    Args: spoiled: is told of those that are gone or not what they were, which are left out then.

    Raises IntegrityError where there is such a one, and nobody to tell.
    """
    wanted = list(digests)

    def read(digest: str) -> StepRecord | None:
        try:
            return read_record(store, digest)
        except (IntegrityError, ValueError) as error:
            if spoiled is None:
                raise
            spoiled(f"{RECORDS}/{digest}.json", str(error).splitlines()[0])
            return None

    with ThreadPoolExecutor(_PARALLEL) as pool:
        found = zip(wanted, pool.map(read, wanted), strict=True)
        return {digest: record for digest, record in found if record is not None}
