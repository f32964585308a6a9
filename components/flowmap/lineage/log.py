"""Which records came to a store on which day: an empty object for each, `lineage/log/<day>/<record>`.

So who keeps an index lists the days since the last look, and not every record that there ever was.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime

from flowmap.artifacts.store import ObjectStore

LOG = "lineage/log"


def log_record(store: ObjectStore, digest: str) -> None:
    """Say that a record came today, whenever it was written."""
    store.create(f"{LOG}/{datetime.now(UTC):%Y-%m-%d}/{digest}", b"")


def logged_on(store: ObjectStore, day: date) -> Iterator[str]:
    """Digests of the records that came on a day."""
    for name in store.names(f"{LOG}/{day.isoformat()}"):
        yield name.rsplit("/", 1)[1]
