"""What came of something: forwards from an artifact, or from data outside, to every model that it went into.

reached = impact(store, digest)
reached.trained              # versions whose weights it went into
reached.judged               # versions that were only judged with it
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from flowmap.artifacts.digest import is_digest
from flowmap.artifacts.store import ObjectStore
from flowmap.lineage.edges import read_records, user_digests
from flowmap.lineage.index import RecordIndex, path_of
from flowmap.progress import say
from flowmap.registry import Registry, Rejection, Version
from flowmap.registry.versions import model_names

_LONG = 500  # records; more are asked of an index
_SOME = 3


@dataclass(frozen=True)
class Impact:
    """What something went into.

    Attributes:
        artifacts: digests of all that was made of it, with the step that made each.
        trained: versions whose weights were made of it; rejected: candidates that were, and did not pass.
        judged: versions whose evaluation was made with it, and whose weights were not.
    """

    artifacts: Mapping[str, str]
    trained: tuple[Version, ...]
    rejected: tuple[Rejection, ...]
    judged: tuple[Version, ...]


def impact(store: ObjectStore, digest: str) -> Impact:
    """Follow the edges from a digest forwards; where there is a lot to follow, by an index on this machine.

    Raises IntegrityError at a record that was changed; an index leaves it out, and that is said.
    """
    made = _followed(store, digest)
    weights, reached = _of_weights(made, digest), {*made, digest}
    versions = [version for name in model_names(store) for version in Registry(store, name).versions()]
    rejections = [each for name in model_names(store) for each in Registry(store, name).rejections()]
    return Impact(
        artifacts=made,
        trained=tuple(each for each in versions if each.candidate in weights),
        rejected=tuple(each for each in rejections if each.candidate in weights),
        judged=tuple(
            each for each in versions if each.evaluation in reached and each.candidate not in weights
        ),
    )


def _followed(store: ObjectStore, digest: str) -> dict[str, str]:
    """All that was made of something, and the step that made each."""
    made: dict[str, str] = {}
    waiting, left = [digest], 0 if path_of(store).exists() else _LONG
    while waiting:
        found = user_digests(store, waiting.pop(), left + 1)
        left -= len(found)
        if left <= 0:
            with RecordIndex.opened(store) as index:
                if unread := index.unread():
                    some = ", ".join(f"lineage/{each}.json" for each in unread[:_SOME])
                    more = f" and {len(unread) - _SOME} more" if len(unread) > _SOME else ""
                    say(
                        f"records are gone or not what they were, and what they made is left out: {some}"
                        f"{more}; `flowmap lineage verify` says how"
                    )
                return index.made_of(digest)
        for record in read_records(store, found).values():
            if record.output not in made:
                made[record.output] = record.step
                waiting.append(record.output)
    return made


def _of_weights(made: Mapping[str, str], digest: str) -> set[str]:
    """Those that are made of it by training: an evaluation makes no weights."""
    return {digest, *(each for each, step in made.items() if step not in ("evaluation", "registry_push"))}


def digests_of(store: ObjectStore, start: str) -> Iterator[str]:
    """The digests of artifacts and of data that begin with a few letters of one. For a whole one none but it
    is looked at."""
    folders = ("lineage/made", "lineage/used")
    if is_digest(start):
        if any(True for folder in folders for _ in islice(store.names(f"{folder}/{start}"), 1)):
            yield start
        return
    found = set()
    for folder in folders:
        for name in store.names(folder):
            digest = name.split("/")[2]
            if digest.startswith(start) and digest not in found:
                found.add(digest)
                yield digest
