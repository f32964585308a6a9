"""A dead man's switch for training on other nodes.

Whoever follows a job renews a mark in the store, and nodes that see it stand still save and end. Nothing
else may be left to end them: a run that was retried has no exit handler any more, and its launcher may be
lost with its node. A store that is away lets nobody's mark stand still, for it can't be read.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from flowmap.artifacts.store import ObjectStore
from flowmap.launching.job import Job
from flowmap.progress import say

_EVERY_S = 30.0


@contextlib.contextmanager
def following(store: ObjectStore, jobs: list[Job]) -> Iterator[None]:
    """Renew the jobs' marks until the block is left."""
    ended = threading.Event()

    def renew() -> None:
        while True:
            for job in jobs:
                # Whatever fails is tried again: a mark that stood still would end training that is followed.
                with contextlib.suppress(Exception):
                    store.put(job.followed_name, f"{time.time():.3f}".encode())
            if ended.wait(_EVERY_S):
                return

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()


class Watch:
    """What a node sees of the mark; once that has stood still for too long, the training is asked to stop.

    Args:
        store: where the mark is.
        job: which training.
        unfollowed_s: how long is too long.
        stop: a file that is made then; training that sees it saves and ends.
    """

    def __init__(self, store: ObjectStore, job: Job, unfollowed_s: float, stop: Path) -> None:
        self._store, self._job, self._unfollowed_s, self._stop = store, job, unfollowed_s, stop
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    @property
    def has_stopped(self) -> bool:
        """Whether the training was asked to stop."""
        return self._stop.exists()

    def _watch(self) -> None:
        mark, since_s = self._mark(), time.monotonic()
        while not self._ended.wait(min(_EVERY_S, self._unfollowed_s / 4)):
            now = self._mark()
            if now is None or now != mark:
                mark, since_s = now, time.monotonic()
            elif time.monotonic() - since_s > self._unfollowed_s:
                say(f"nobody has followed this training for {self._unfollowed_s:.0f} s: it saves and ends")
                self._stop.touch()
                return

    def _mark(self) -> bytes | None:
        """None where it can't be read. One that is not there is one that nobody renews."""
        try:
            return self._store.get(self._job.followed_name)
        except KeyError:
            return b""
        except Exception:  # a watch that ended would never end anything
            return None
