"""Objects that are kept under the digest of their bytes."""

from __future__ import annotations

from flowmap.artifacts.digest import changed, sha256_of
from flowmap.artifacts.store import ObjectStore, read_there
from flowmap.errors import IntegrityError


def read_kept_bytes(store: ObjectStore, name: str, digest: str) -> bytes:
    """Of one. Raises IntegrityError where it is gone or is not what it was."""
    data = read_there(store, name)
    if (found := sha256_of(data)) != digest:
        raise IntegrityError(f"{name} {changed(found, digest)}")
    return data
