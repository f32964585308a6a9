"""Runs the pipeline on this machine, with kfp's local runner; a directory is the store unless another is
named.

Below the root: `store/`, `logs/<run id>.log` with everything that steps and libraries print, `scratch/`
while it runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import secrets
import shutil
import sys
import warnings
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from flowmap.artifacts.store import ObjectStore, open_store
from flowmap.errors import FlowmapError, StoreError, full_disk_told
from flowmap.lineage.edges import add_missing_edges
from flowmap.lineage.record import StepRecord, run_records
from flowmap.registry_push.signing_key import check_key
from flowmap.settings import RunConfig, environment

_MARK = "\x1e"
_LOCK = "lock"
_LAST_LINES = 15


class StepError(FlowmapError):
    """A step of the pipeline failed."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class LocalRun:
    """What a run left: its id, its steps' records in the order they finished, and the store they lie in."""

    run_id: str
    store: ObjectStore
    records: dict[str, StepRecord]


def store_of(root: Path, url: str | None = None) -> ObjectStore:
    """The store at `url`, or the one inside a local root.

    Raises StoreError at once when it can't be used.
    """
    where = url or str(root.absolute() / "store")
    open_store(where, patience=1).exists("models")
    return open_store(where)


def indexed_store(root: Path, url: str | None = None) -> ObjectStore:
    """The same, records of an older flowmap with their edges."""
    store = store_of(root, url)
    if num := add_missing_edges(store):
        print(f"{num} records of an older flowmap have their edges now", file=sys.stderr, flush=True)
    return store


def run_locally(config: RunConfig, root: Path, store: ObjectStore) -> LocalRun:
    """Run the whole DAG, with its logs below `root`. kfp's settings are global to a process: one call each.

    Raises:
        StepError: a step failed; the message is the step's own, or the end of what it printed.
    """
    check_key(config.registry_push)
    root = root.absolute()
    run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    log = root / "logs" / f"{run_id}.log"
    with _scratch(root, run_id) as scratch:
        log.parent.mkdir(exist_ok=True)
        _set_environment(run_id, store, scratch)
        with full_disk_told():
            _run_pipeline(config, scratch, log)
    return LocalRun(run_id, store, run_records(store, run_id))


@contextlib.contextmanager
def one_run_at_a_time(root: Path) -> Iterator[None]:
    """One run works below a root: another waits. The system releases the lock however a run ends.

    Raises StoreError where nothing can be written there.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / _LOCK).open("w")
    except OSError as error:
        raise _unwritable(root, error) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print(f"another run works below {root}; waiting for it to end", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _scratch(root: Path, run_id: str) -> Iterator[Path]:
    """A directory of this run's own, gone afterwards; what killed runs left there goes too."""
    everything = root / "scratch"
    scratch = everything / run_id
    with one_run_at_a_time(root):
        try:
            everything.mkdir(exist_ok=True)
        except OSError as error:
            raise _unwritable(root, error) from None
        for left in everything.iterdir():
            shutil.rmtree(left, ignore_errors=True)
        (scratch / "tmp").mkdir(parents=True)
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _unwritable(root: Path, error: OSError) -> StoreError:
    return StoreError(f"--root {root}: {error.strerror} ({error.filename}); name a writable directory")


def _set_environment(run_id: str, store: ObjectStore, scratch: Path) -> None:
    """What the steps' processes inherit."""
    os.environ |= {
        environment.RUN_ID: run_id,
        environment.STORE: store.url,
        environment.ERROR_FILE: str(scratch / "error.json"),
        environment.LINE_MARK: _MARK,
        environment.RUN_PID: str(os.getpid()),
        "TMPDIR": str(scratch / "tmp"),
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",  # whatever the locale is
        "PYTHONSAFEPATH": "1",  # a file in the current folder must not stand for a module
    }
    # OpenMP threads that spin while they wait starve the autograd thread on few cores: 2.5 updates/s instead
    # of 8.5.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OMP_NUM_THREADS", str(min(os.cpu_count() or 1, 8)))
    if sys.stderr.isatty():
        with contextlib.suppress(OSError):  # a container may have a terminal without a name
            os.environ[environment.TERMINAL] = os.ttyname(sys.stderr.fileno())


def _run_pipeline(config: RunConfig, scratch: Path, log: Path) -> None:
    from kfp import local

    from flowmap_pipelines.training_pipeline import make_pipeline

    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(scratch / "outputs"),
        workspace_root=str(scratch / "workspace"),
    )
    with log.open("w", encoding="utf-8") as file:
        tee = _MarkedLines(file, sys.stderr)
        try:
            with contextlib.redirect_stdout(tee), warnings.catch_warnings():
                # The steps' image is not what runs here: their code is this very environment's.
                warnings.filterwarnings("ignore", message=".*non-Python base image.*")
                make_pipeline()(settings=config.to_json())
        except RuntimeError as error:
            raise _step_error(error, scratch / "error.json", tee, log) from error


def _step_error(error: RuntimeError, report: Path, lines: _MarkedLines, log: Path) -> StepError:
    if report.is_file():
        told = json.loads(report.read_text())
        return StepError(told["message"], told["exit_code"])
    tail = "\n".join(lines.last)
    return StepError(f"{error}\n{tail}\nEverything that was printed is in {log}")


class _MarkedLines(io.TextIOBase):
    """Writes all that kfp and the steps print to a log, and what is meant for people to the terminal as
    well."""

    def __init__(self, log: TextIO, terminal: TextIO) -> None:
        self.last: deque[str] = deque(maxlen=_LAST_LINES)
        self._log, self._terminal, self._rest = log, terminal, ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._keep(line.replace(_MARK, "") + "\n")
            _, mark, said = line.partition(_MARK)
            if mark:
                print(said, file=self._terminal, flush=True)
            elif line.strip():
                self.last.append(line.rstrip())
        return len(text)

    def _keep(self, line: str) -> None:
        """A log that can't be written, on a disk that is full, must not end the run: the step says what is
        wrong."""
        with contextlib.suppress(OSError):
            self._log.write(line)
            self._log.flush()
