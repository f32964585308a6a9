"""What each node of a training job printed, kept in the store for when its pod is gone.

    with node_log(store, node, folder / "log"):     # in the node's program
        ...
    text = kept_log(store, run_id, "grpo_finetuning", node)

One object for each time that the node was started: `runs/<run id>/logs/<step>/<node>-<when>.log`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from flowmap.artifacts.store import ObjectStore, read_there
from flowmap.errors import FlowmapError
from flowmap.progress import LINE_FIELDS, say

_KEPT_BYTES = 10 << 20  # of the end
_LAST_WORDS_S = 5.0


@contextlib.contextmanager
def node_log(store: ObjectStore, node: int, file: Path) -> Iterator[None]:
    """Keep in the store what this process and its children print from here on, however it ends.

    Nothing is kept outside a run. A store that refuses is no reason to lose what the node has done: it is
    only told.
    """
    run_id, step = (os.environ.get(LINE_FIELDS[field]) for field in ("run", "step"))
    if run_id is None or step is None:
        yield
        return
    name = f"{_prefix(run_id, step)}/{node}-{time.time_ns() // 1_000_000}.log"
    try:
        with _copied(file):
            yield
    finally:
        signal.signal(
            signal.SIGTERM, signal.SIG_IGN
        )  # who takes the node away waits for longer than this takes
        try:
            store.put(name, file.read_bytes()[-_KEPT_BYTES:])
        except FlowmapError as error:
            say(f"node {node}: its log is not kept: {error}")


def kept_log(store: ObjectStore, run_id: str, step: str, node: int) -> str:
    """What a node printed, each time that it was started, one after the other; empty when nothing is
    kept."""
    prefix = _prefix(run_id, step)
    names = [name for name in store.names(prefix) if name.startswith(f"{prefix}/{node}-")]
    return "".join(read_there(store, name).decode(errors="replace") for name in names)


def _prefix(run_id: str, step: str) -> str:
    return f"runs/{run_id}/logs/{step}"


@contextlib.contextmanager
def _copied(file: Path) -> Iterator[None]:
    """Everything printed goes to `file` too: below Python, so that children and libraries are in it."""
    reading, writing = os.pipe()
    shown = [os.dup(number) for number in (1, 2)]
    for number in (1, 2):
        os.dup2(writing, number)
    os.close(writing)

    def copy() -> None:
        with file.open("wb") as kept:
            while piece := os.read(reading, 1 << 16):
                kept.write(piece)
                kept.flush()
                os.write(shown[1], piece)

    copying = threading.Thread(target=copy, daemon=True)
    copying.start()
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for was, number in zip(shown, (1, 2), strict=True):
            os.dup2(was, number)
        copying.join(_LAST_WORDS_S)  # a child that outlives this still holds the pipe
