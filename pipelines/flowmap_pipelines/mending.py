"""Everything of a model that is damaged and can be made again from what is whole."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from flowmap.artifacts.store import ObjectStore
from flowmap.artifacts.transfer import faults, fetch_artifact
from flowmap.attestation.restoring import restore_moves, restore_statements
from flowmap.attestation.trust import TrustedKeys
from flowmap.documents.published import mend
from flowmap.errors import IntegrityError
from flowmap.registry import Registry, Version


def mended(store: ObjectStore, name: str, trusted: TrustedKeys | None) -> Iterator[tuple[str, str]]:
    """Mend what can be; yields each object's name and what it was made of.

    Args: trusted: whose signature a move needs that was lost; None takes any.
    """
    registry = Registry(store, name)
    for object_ in restore_moves(registry, trusted):
        yield object_, "the signature beside it"
    for version in registry.versions():
        for object_ in _files(registry, version):
            yield object_, "the artifact that it was published from"
        for object_ in mend(registry, version):
            yield object_, "the version's evidence"
        for object_ in restore_statements(store, version):
            yield object_, "the records"


def _files(registry: Registry, version: Version) -> list[str]:
    """Published files, from the candidate, which is read where one is damaged."""
    if not faults(registry.store, version.manifest, registry.files_prefix(version)):
        return []
    with tempfile.TemporaryDirectory() as folder:
        try:
            fetch_artifact(registry.store, version.candidate, Path(folder))
        except IntegrityError:  # which `flowmap lineage verify` names
            return []
        return registry.mend(version, Path(folder))
