"""What steps came to, by their digests: who asks for one finds its artifact."""

from __future__ import annotations

from flowmap.artifacts.manifest import Manifest, parse_manifest
from flowmap.artifacts.store import ObjectStore
from flowmap.errors import IntegrityError


def finished_result(store: ObjectStore, digest: str) -> Manifest | None:
    """What a step digest came to, as its record says; its bytes are not looked at. Raises IntegrityError."""
    name = f"steps/{digest}.json"
    try:
        manifest = parse_manifest(store.get(name), where=name)
    except KeyError:
        return None
    if manifest.step_digest != digest:
        raise IntegrityError(
            f"{name} describes another step, {manifest.step_digest}; delete it to run the step again"
        )
    return manifest
