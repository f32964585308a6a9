"""What models saw one datum, by its name or the digest of its content.

for each in holders(store, "cat_017.png"):
    each.data, each.split                    # a data artifact that has it, and which split of it
    seen = seen_by(store, each)              # versions that were trained or judged with it
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from flowmap.artifacts.manifest import MANIFEST_NAME
from flowmap.artifacts.store import ObjectStore
from flowmap.artifacts.transfer import fetch_artifact
from flowmap.audit.impact import Impact, impact
from flowmap.data.dataset import TABLE
from flowmap.data.encoded import CAPTIONED

_SHORTEST = 8  # letters of a digest
_JUDGING = ("judge", "holdout")


@dataclass(frozen=True)
class Holder:
    """A data artifact that has a datum.

    Attributes:
        data: the artifact's digest.
        name, digest: the datum's own.
        split: which split of the artifact it is in.
    """

    data: str
    name: str
    digest: str
    split: str


def holders(store: ObjectStore, what: str) -> Iterator[Holder]:
    """Where a datum lies, in every data artifact of the store; `what` is its name, its digest, or how that
    begins. Pictures with captions are all of the split that base training sees."""
    for data, tables in _data_artifacts(store).items():
        with tempfile.TemporaryDirectory() as scratch:
            fetch_artifact(store, data, Path(scratch), tables)
            table = pd.concat([_read(Path(scratch, name)) for name in tables])
        found = table["id"] == what
        if len(what) >= _SHORTEST:
            found |= table["digest"].str.startswith(what)
        for name, digest, split in table[found].itertuples(index=False):
            yield Holder(data, name, digest, split)


def seen_by(store: ObjectStore, holder: Holder) -> Impact:
    """What models it went into: by judge's and holdout's data they are only judged."""
    found = impact(store, holder.data)
    if holder.split not in _JUDGING:
        return found
    judged = {(each.name, each.version): each for each in (*found.trained, *found.judged)}
    return replace(found, trained=(), rejected=(), judged=tuple(judged.values()))


def _read(table: Path) -> pd.DataFrame:
    columns = ["id", "digest", *(["split"] if table.name == TABLE else [])]
    read = pd.read_parquet(table, columns=columns)
    return read if table.name == TABLE else read.assign(split="base")


def _data_artifacts(store: ObjectStore) -> dict[str, list[str]]:
    """Digests of artifacts with data in them, whoever made them and wherever they came from, with the names
    of their tables."""
    found: dict[str, list[str]] = {}
    whole = set()
    for name in store.names("artifacts"):
        _, digest, file = name.split("/", 2)
        if file in (TABLE, CAPTIONED):
            found.setdefault(digest, []).append(file)
        if file == MANIFEST_NAME:  # which is written last
            whole.add(digest)
    return {digest: tables for digest, tables in found.items() if digest in whole}
