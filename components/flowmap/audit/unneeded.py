"""What of a store nothing needs any more, and how it is taken away.

    for each in unneeded(store, keep=timedelta(days=30)):
        remove(store, each)

Needed is what a version rests on, down to the data; the last rejected candidate of each model; and what a
run made or used lately. Records, versions, moves of aliases and verdicts are never taken away: what a model
was made of can be told for ever, also where other results of that time are gone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from flowmap.artifacts.manifest import MANIFEST_NAME, parse_manifest
from flowmap.artifacts.store import Listed, ObjectStore
from flowmap.audit.graph import reached
from flowmap.audit.registry_checks import PUSH
from flowmap.errors import ConfigError, IntegrityError
from flowmap.lineage.edges import add_missing_edges, read_record
from flowmap.lineage.record import RECORDS
from flowmap.registry import Registry, Rejection, Version, model_names

LEAST = timedelta(days=1)  # a run may take as long, and what it makes has no record before it is done
_TEMPORARY = "/.writing-"


@dataclass(frozen=True)
class Unneeded:
    """Objects that belong together.

    Attributes:
        kind: `result`, `checkpoint`, `curves`, `model files`, `statement`, `set aside` or `cut off`.
        where: what their names begin with.
        names: in the order in which they are deleted: what points to the others comes first, so that a
            deletion that is cut off leaves nothing which points to what is gone.
        size: of all of them, in bytes.
        last: when the youngest was written.
    """

    kind: str
    where: str
    names: tuple[str, ...]
    size: int
    last: datetime


def unneeded(store: ObjectStore, keep: timedelta, now: datetime | None = None) -> list[Unneeded]:
    """What may be deleted, largest first.

    Args:
        keep: nothing younger is named, and nothing that a run of that time made, reused or took.

    Raises:
        ConfigError: `keep` is shorter than a day.
        IntegrityError: a record or a version is damaged: who knows what it needs?
    """
    if keep < LEAST:
        raise ConfigError("what is younger than a day may belong to a run that goes on: keep a day or more")
    since = (now or datetime.now(UTC)) - keep
    versions = {name: Registry(store, name).versions() for name in model_names(store)}
    needed = _needed(store, versions, since)
    published = {
        f"models/{name}/files/{each.digest}"
        for name, all_ in versions.items()
        for version in all_
        for each in (version.manifest, version.documents)
        if each is not None
    }
    steps = _steps(store)
    done = {step for artifact in needed for step in steps.get(artifact, ())}
    found = [
        *_results(store, needed, steps),
        *_groups(store, "checkpoints", 3, "checkpoint", lambda where: True),
        *_groups(store, "tensorboard", 3, "curves", lambda where: where.split("/")[2] not in done),
        *_groups(store, "quarantine", 3, "set aside", lambda where: True),
        *_model_files(store, published),
        *_of_no_record(store),
        *_cut_off(store),
    ]
    old = [each for each in found if each.last < since]
    return sorted(old, key=lambda each: (-each.size, each.where))


def remove(store: ObjectStore, group: Unneeded) -> None:
    """Delete the objects, what points to the others first."""
    for name in group.names:
        store.delete(name)


def _needed(store: ObjectStore, versions: dict[str, list[Version]], since: datetime) -> set[str]:
    """Digests of what versions rest on, of the last rejection of each model, and of what records since then
    name."""
    add_missing_edges(store)
    published = {each.manifest.digest: each for all_ in versions.values() for each in all_}
    roots = set(published)
    for name in versions:
        if rejections := Registry(store, name).rejections():
            last = max(rejections, key=_when)
            roots |= {last.candidate, last.evaluation}
    for name in store.names(RECORDS):
        if name.count("/") == 1 and name.endswith(".json"):
            record = read_record(store, name.removeprefix(f"{RECORDS}/").removesuffix(".json"))
            if record.step == PUSH:  # what it says of itself, a few bytes that an audit asks for
                roots.add(record.output)
            if datetime.fromisoformat(record.finished_at) >= since:
                roots |= {record.output, *record.inputs.values()}
    return set(reached(store, roots, published))


def _when(rejection: Rejection) -> datetime:
    return rejection.rejected_at or datetime.min.replace(tzinfo=UTC)


def _steps(store: ObjectStore) -> dict[str, list[str]]:
    """Digests of the steps that an artifact is the result of; a pointer that can't be read is left to its
    step, which says so."""
    found: dict[str, list[str]] = {}
    for name in store.names("steps"):
        try:
            artifact = parse_manifest(store.get(name), where=name).digest
        except (IntegrityError, KeyError):
            continue
        found.setdefault(artifact, []).append(name.removeprefix("steps/").removesuffix(".json"))
    return found


def _results(store: ObjectStore, needed: set[str], steps: dict[str, list[str]]) -> Iterator[Unneeded]:
    """Artifacts, each with what says that a step has it as its result."""
    for each in _groups(store, "artifacts", 2, "result", lambda where: where.split("/")[1] not in needed):
        pointers = tuple(f"steps/{step}.json" for step in steps.get(each.where.split("/")[1], ()))
        yield replace(each, names=(*pointers, *each.names))


def _groups(
    store: ObjectStore, prefix: str, depth: int, kind: str, is_unneeded: Callable[[str], bool]
) -> Iterator[Unneeded]:
    """Objects by the first parts of their names."""
    whole = (each for each in store.listed(prefix) if _TEMPORARY not in each.name)
    for where, members in itertools.groupby(whole, lambda each: "/".join(each.name.split("/")[:depth])):
        if is_unneeded(where):
            yield _group(kind, where, members)


def _model_files(store: ObjectStore, published: set[str]) -> Iterator[Unneeded]:
    """What was uploaded for versions that never came, or were withdrawn."""
    for each in _groups(store, "models", 4, "model files", lambda where: where.split("/")[2] == "files"):
        if each.where not in published:
            yield each


def _of_no_record(store: ObjectStore) -> Iterator[Unneeded]:
    """What was stated of runs that died before their record was written."""
    records = {name.removesuffix(".json") for name in store.names(RECORDS) if name.count("/") == 1}
    yield from _groups(
        store,
        f"{RECORDS}/statements",
        3,
        "statement",
        lambda where: f"{RECORDS}/{where.rsplit('/', 1)[1]}" not in records,
    )


def _cut_off(store: ObjectStore) -> Iterator[Unneeded]:
    """Files that were being written when their writer died."""
    for prefix in (
        "artifacts",
        "checkpoints",
        "lineage",
        "models",
        "quarantine",
        "runs",
        "steps",
        "tensorboard",
    ):
        for each in store.listed(prefix):
            if _TEMPORARY in each.name:
                yield _group("cut off", each.name, [each])


def _group(kind: str, where: str, members: Iterable[Listed]) -> Unneeded:
    all_ = sorted(members, key=lambda each: not each.name.endswith(f"/{MANIFEST_NAME}"))
    names, size = tuple(each.name for each in all_), sum(each.size for each in all_)
    return Unneeded(kind, where, names, size, max(each.modified for each in all_))
