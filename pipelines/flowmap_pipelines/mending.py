"""Everything of a model that is damaged and can be made again from what is whole."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flowmap.artifacts.store import ObjectStore
from flowmap.artifacts.transfer import artifact_prefix, faults, fetch
from flowmap.attestation.restoring import restore_moves, restore_retirement, restore_statements
from flowmap.attestation.trust import TrustedKeys
from flowmap.data.naming import first_line
from flowmap.documents.published import mend
from flowmap.errors import IntegrityError
from flowmap.registry import Registry, UnknownModelError, Version
from flowmap.registry.documents import documents_prefix
from flowmap.registry.retiring import retirement_of
from flowmap.registry.versions import model_names


@dataclass(frozen=True)
class Left:
    """What could not be made again, and why."""

    what: str
    why: str


def mended(store: ObjectStore, name: str, trusted: TrustedKeys | None) -> Iterator[tuple[str, str] | Left]:
    """Mend what can be; yields each object's name and what it was made of, and what is left.

    Args: trusted: whose signature a move needs that was lost; None takes any.

    Raises UnknownModelError: there is no such model.
    """
    if name not in model_names(store):
        raise UnknownModelError(
            f"{name!r}: no such model in {store.url}; there is {', '.join(model_names(store)) or 'none yet'}"
        )
    registry, retired = Registry(store, name), partial(restore_retirement, trusted=trusted)
    for object_ in restore_moves(registry, trusted):
        yield object_, "the signature beside it"
    for version in registry.versions():
        for work, of in (
            (_files, "the artifact that it was published from"),
            (mend, "the version's evidence"),
            (restore_statements, "the records"),
            (retired, "the signature beside it"),
        ):
            with contextlib.suppress(IntegrityError, KeyError, ValueError):  # what is left is looked for
                for object_ in work(registry, version):
                    yield object_, of
        yield from _left(registry, version)
    for object_ in registry.moved.lost():
        yield Left(object_, "no signature that is trusted says what it was")


def _left(registry: Registry, version: Version) -> Iterator[Left]:
    """What is damaged of a version still."""
    store, called = registry.store, f"{version.name}@{version.version}"
    published = [(version.manifest, registry.files_prefix(version))]
    if version.documents is not None:
        published.append((version.documents, documents_prefix(version)))
    for manifest, prefix in published:
        for object_, told in faults(store, manifest, prefix).items():
            yield Left(object_, told)
    try:
        retirement_of(store, version)
    except IntegrityError as error:
        yield Left(f"the retirement of {called}", first_line(error))
    try:
        list(restore_statements(registry, version))
    except (IntegrityError, KeyError, ValueError) as error:
        yield Left(f"the statements of {called}", first_line(error))


def _files(registry: Registry, version: Version) -> list[str]:
    """Published files, from the candidate, which is read where one is damaged."""
    if not faults(registry.store, version.manifest, registry.files_prefix(version)):
        return []
    with tempfile.TemporaryDirectory() as folder:
        fetch(registry.store, version.manifest, Path(folder), artifact_prefix(version.candidate))
        return registry.mend(version, Path(folder))
