"""Curves as TensorBoard's event files, in the store while the training runs.

    events = EventFiles(store, "grpo_finetuning/<step digest>", folder)
    events.add(rollout, {"reward": .3}); events.upload()

They lie below `tensorboard/` and not in the step's artifact: they hold times and host names, which artifacts
never do. Uploaded at every checkpoint, so a run can be watched, and what a killed one has shown is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowmap.artifacts.store import ObjectStore

PREFIX = "tensorboard"


class EventFiles:
    """The event file of one process; a run that goes on after a kill writes another beside it."""

    def __init__(self, store: ObjectStore, run: str, folder: Path) -> None:
        self._store, self._run, self._folder = store, run, folder
        self._writer: Any = None

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        """One point of each curve."""
        if self._writer is None:
            from tensorboardX import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), write_to_disk=True)
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def upload(self) -> None:
        """Put what there is so far into the store."""
        if self._writer is None:
            return
        self._writer.flush()
        for file in sorted(self._folder.iterdir()):
            self._store.put_file(f"{PREFIX}/{self._run}/{file.name}", file)
