"""Where the documents of a version lie, and how they come there: before the version that names them does."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flowmap.artifacts.manifest import Manifest, build_manifest
from flowmap.artifacts.store import ObjectStore
from flowmap.artifacts.transfer import publish, verify
from flowmap.registry.records import Version


@dataclass(frozen=True)
class Evidence:
    """What is published with a version.

    Attributes:
        documents: their bytes by name.
        records: which run made each artifact beneath: digests of records by those of artifacts.
        outside: what each digest beneath is that no step made.
    """

    documents: Mapping[str, bytes]
    records: Mapping[str, str]
    outside: Mapping[str, str]


EvidenceOf = Callable[[Version], Evidence]
_MAKER = "registry_push"


def documents_prefix(version: Version) -> str:
    """Of a version that has any."""
    assert version.documents is not None
    return _prefix(version.name, version.documents)


def with_evidence(store: ObjectStore, version: Version, made: EvidenceOf | None) -> Version:
    """A version that is about to be, naming its documents, which are there by then."""
    if made is None:
        return version
    with tempfile.TemporaryDirectory() as folder:
        evidence = made(version)
        for path, data in evidence.documents.items():
            Path(folder, path).write_bytes(data)
        manifest = build_manifest(Path(folder), step=_MAKER, step_digest=version.evaluation)
        publish(store, Path(folder), manifest, _prefix(version.name, manifest))
    verify(store, manifest, _prefix(version.name, manifest))
    told = {"records": dict(evidence.records), "outside": dict(evidence.outside)}
    return version.model_copy(update={"documents": manifest, **told})


def _prefix(name: str, manifest: Manifest) -> str:
    return f"models/{name}/files/{manifest.digest}"
