"""The files of a version: what is damaged of them is made good from the artifact that they are copies of;
and what lies beside its version.json."""

from __future__ import annotations

import re
from pathlib import Path

from flowmap.artifacts.manifest import Manifest
from flowmap.artifacts.store import ObjectStore
from flowmap.artifacts.transfer import faults, publish, verify

_BESIDE = re.compile(r"((version|retired|withdrawn)\.json|(statements|signatures|retirement)/[^/]+\.json)")


def is_beside(folder: str, name: str) -> bool:
    """Whether an object below `models/<name>/<version>` is one that a registry keeps there."""
    return _BESIDE.fullmatch(name.removeprefix(f"{folder}/")) is not None


def mend(store: ObjectStore, manifest: Manifest, prefix: str, directory: Path) -> list[str]:
    """Write again what is missing or changed; names what that was.

    Args:
        manifest, prefix: of the published files.
        directory: a verified copy of what they were published from.
    """
    damaged = sorted(faults(store, manifest, prefix))
    if damaged:
        publish(store, directory, manifest, prefix)
        verify(store, manifest, prefix)
    return damaged
