"""What an interrupted step resumes from: complete checkpoints in the store, numbered by the work that was done.

    checkpoints.save(20, directory)          # every file, its digest, the manifest last
    done = checkpoints.restore(directory)    # 20, or None when there is nothing to resume from

A checkpoint without its manifest was cut off while it was written, and does not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flowmap.artifacts.manifest import MANIFEST_NAME, build_manifest, parse_manifest
from flowmap.artifacts.store import ObjectStore
from flowmap.artifacts.transfer import fetch, publish

_KEPT = 2


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one step digest, below `prefix`."""

    store: ObjectStore
    prefix: str

    def save(self, done: int, directory: Path) -> None:
        """Keep the files of `directory` as the state after `done` units of work; older ones are thinned out."""
        manifest = build_manifest(directory, step="checkpoint", step_digest=self.prefix.rsplit("/", 1)[-1])
        publish(self.store, directory, manifest, self._folder(done))
        for old in self._complete()[:-_KEPT]:
            self._delete(old)

    def restore(self, directory: Path) -> int | None:
        """Copy the newest complete checkpoint to `directory` and return how much work it has done."""
        complete = self._complete()
        if not complete:
            return None
        folder = self._folder(complete[-1])
        manifest = parse_manifest(self.store.get(f"{folder}/{MANIFEST_NAME}"), where=folder)
        fetch(self.store, manifest, directory, folder)
        return complete[-1]

    def clear(self) -> None:
        """Delete all of them: the step has finished."""
        for name in list(self.store.names(self.prefix)):
            self.store.delete(name)

    def _complete(self) -> list[int]:
        names = self.store.names(self.prefix)
        return sorted(int(name.split("/")[-2]) for name in names if name.endswith(f"/{MANIFEST_NAME}"))

    def _delete(self, done: int) -> None:
        folder = self._folder(done)
        self.store.delete(f"{folder}/{MANIFEST_NAME}")
        for name in list(self.store.names(folder)):
            self.store.delete(name)

    def _folder(self, done: int) -> str:
        return f"{self.prefix}/{done:08d}"
