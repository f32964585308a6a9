"""Progress of long work: a bar with rate and time left on a terminal, a line every few seconds in a log.

    with Progress("base_training", total=600) as progress:
        progress.update(loss=0.3)

A step's own output is a pipe that the pipeline's runner reads line by line; the name of the terminal, in the
environment, lets the bar be drawn past it. `say` prints a line for people; a runner that wants to tell those
from what libraries print asks for a mark in front of them, and a cluster, whose logs programs read, for
JSON.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from flowmap.settings import environment

# The environment variables that a line in JSON takes its fields from. The text's field is called `log`,
# because that is all that Kubeflow keeps of such a line.
LINE_FIELDS = {"run": "FLOWMAP_RUN_ID", "step": "FLOWMAP_STEP", "step_digest": "FLOWMAP_STEP_DIGEST"}
_LINE_EVERY_S = 5.0


def say(text: str) -> None:
    """Print one line for the person who watches the run, or for the program that collects logs."""
    if os.environ.get(environment.LOG_FORMAT) == "json":
        fields = {
            name: os.environ[variable] for name, variable in LINE_FIELDS.items() if variable in os.environ
        }
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields, "log": text}
        print(json.dumps(line, ensure_ascii=False), file=sys.stderr, flush=True)
        return
    print(os.environ.get(environment.LINE_MARK, "") + text, file=sys.stderr, flush=True)


class Progress:
    """Counts updates up to `total`, starting at `done` when work is resumed.

    `update` may be called at any rate.
    """

    def __init__(self, label: str, total: int, done: int = 0) -> None:
        self.label, self.total, self.done = label, total, done
        self._begin = done
        self._began_s = self._shown_s = time.monotonic()
        self._terminal: TextIO | None = None
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        with contextlib.suppress(OSError):
            if name := os.environ.get(environment.TERMINAL):
                self._terminal = Path(name).open("w")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._terminal is not None:
            self._terminal.close()

    def skip(self, num: int) -> None:
        """So many more were done before, by a run that was interrupted."""
        self.done += num
        self._begin += num

    def update(self, **figures: float) -> None:
        """One more is done; `figures` are shown beside the count."""
        self.done += 1
        tail = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        if self._terminal is not None:
            self._draw(self._terminal, tail)
            return
        now_s = time.monotonic()
        if now_s - self._shown_s < _LINE_EVERY_S and self.done < self.total:
            return
        self._shown_s = now_s
        rate = (self.done - self._begin) / max(now_s - self._began_s, 1e-9)
        left_s = (self.total - self.done) / rate
        say(f"{self.label}  {self.done}/{self.total}  {rate:.1f}/s  {left_s:.0f} s left  {tail}".rstrip())

    def _draw(self, terminal: TextIO, figures: str) -> None:
        """Draw on the terminal, unless a process beside this one is drawing there: then wait until it has
        finished."""
        if self._bar is None:
            try:
                fcntl.flock(terminal, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return
            self._bar = self._make_bar()
            self._task = self._bar.add_task(
                self.label, total=self.total, completed=self.done, figures=figures
            )
            self._bar.start()
        self._bar.update(self._task, completed=self.done, figures=figures)

    def _make_bar(self) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        return Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=Console(file=self._terminal, force_terminal=True),
            transient=True,
            refresh_per_second=4,
        )
