"""What an interrupted step resumes from: complete checkpoints in the store, numbered by the work that was
done.

    checkpoints.save(20, directory)          # every file, its digest, and that it is complete last
    done = checkpoints.restore(directory)    # 20, or None when there is nothing to resume from

Several nodes each save what lies on their own disk, and a restored checkpoint has the files of all. A
checkpoint that was cut off while it was written does not count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flowmap.artifacts.manifest import MANIFEST_NAME, build_manifest, parse_manifest
from flowmap.artifacts.store import ObjectStore, read_there
from flowmap.artifacts.transfer import fetch, publish

_KEPT = 2
_COMPLETE = "complete"


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one step digest, below `prefix`."""

    store: ObjectStore
    prefix: str

    def save(
        self, done: int, directory: Path, *, node: int = 0, when_all_have: Callable[[], None] = lambda: None
    ) -> None:
        """Keep the files of `directory` as the state after `done` units of work; node 0 thins out older
        ones.

        `when_all_have` returns when every node has come that far: only then is the checkpoint complete.
        """
        manifest = build_manifest(directory, step="checkpoint", step_digest=self.prefix.rsplit("/", 1)[-1])
        publish(self.store, directory, manifest, f"{self._folder(done)}/{node}")
        when_all_have()
        if node == 0:
            self.store.put(f"{self._folder(done)}/{_COMPLETE}", b"")
            for old in self._complete()[:-_KEPT]:
                self._delete(old)

    def newest(self) -> int | None:
        """How much work the newest complete checkpoint has done."""
        return max(self._complete(), default=None)

    def restore(self, directory: Path, done: int | None = None) -> int | None:
        """Copy a complete checkpoint, the newest unless told, to `directory`; returns how much work it has
        done."""
        done = self.newest() if done is None else done
        if done is None:
            return None
        for name in list(self.store.names(self._folder(done))):
            part, _, file = name.rpartition("/")
            if file == MANIFEST_NAME:
                fetch(self.store, parse_manifest(read_there(self.store, name), where=name), directory, part)
        return done

    def clear(self) -> None:
        """Delete all of them: the step has finished."""
        names = list(self.store.names(self.prefix))
        for name in sorted(names, key=lambda name: not name.endswith(f"/{_COMPLETE}")):  # that first
            self.store.delete(name)

    def _complete(self) -> list[int]:
        names = self.store.names(self.prefix)
        return sorted(int(name.split("/")[-2]) for name in names if name.endswith(f"/{_COMPLETE}"))

    def _delete(self, done: int) -> None:
        folder = self._folder(done)
        self.store.delete(f"{folder}/{_COMPLETE}")
        for name in list(self.store.names(folder)):
            self.store.delete(name)

    def _folder(self, done: int) -> str:
        return f"{self.prefix}/{done:08d}"
