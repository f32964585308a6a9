"""A training job: what its processes are told, and what they leave when they fail.

    run_worker(train)            # in the worker's __main__

A worker is a plain program with a job file as its argument; it knows nothing of pipelines, nor of what started it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from flowmap.artifacts.checkpoints import Checkpoints
from flowmap.artifacts.manifest import Manifest
from flowmap.artifacts.store import open_store
from flowmap.errors import FlowmapError, InvariantError, StoreError, full_disk_told
from flowmap.processes import die_with_run
from flowmap.training.events import EventFiles

# What PyTorch says where a process it talks to is gone.
_CAUSES = ("own", "silent", "lost_peer")  # what tells more comes first
_LOST_PEER = ("gloo", "nccl", "connection closed by peer", "connection reset by peer", "broken pipe")


TRAINJOB_VARIABLE = "FLOWMAP_TRAINJOB"  # tells the launcher to train on other nodes, and how
JOB_VARIABLE = "FLOWMAP_JOB"  # tells a node what to do


class Job(BaseModel):
    """What a worker is told.

    Attributes:
        module: the worker, run as a program.
        settings: the run's configuration as JSON.
        inputs: local copies of the step's inputs.
        manifests: of the inputs that lie in the store as artifacts, for nodes that have no copy.
        out: where the worker leaves its results.
        scratch: for anything that need not survive; all processes of a node see it.
        store: the store's URL, for checkpoints.
        checkpoints: the prefix they lie under.
        num_processes: how many processes there are, on all nodes together.
        arguments: what tells several jobs of one step apart.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    module: str
    settings: str
    inputs: dict[str, Path]
    manifests: dict[str, Manifest] = {}
    out: Path
    scratch: Path
    store: str
    checkpoints: str
    num_processes: int = 1
    arguments: dict[str, str] = {}

    def open_checkpoints(self) -> Checkpoints:
        return Checkpoints(open_store(self.store), self.checkpoints)

    def open_events(self) -> EventFiles:
        """Where a worker shows its curves; for one process of the job."""
        return EventFiles(open_store(self.store), self.checkpoints.partition("/")[2], self.scratch / "tensorboard")

    @property
    def result_prefix(self) -> str:
        """Where node 0 of a distributed job leaves the results in the store, with their manifest."""
        return f"{self.checkpoints}/result"

    @property
    def failures_prefix(self) -> str:
        """Where each node that failed says why."""
        return f"{self.checkpoints}/failures"

    def failures(self) -> list[Failure]:
        """What this node's processes left. Raises StoreError when there was no room even for that."""
        files = sorted(self.scratch.glob("failure-*.json"))
        try:
            return [Failure.model_validate_json(file.read_bytes()) for file in files]
        except ValidationError:
            raise StoreError(f"no space is left for {self.scratch}; make room and run the same command again") from None


class Failure(BaseModel):
    """Why a process ended.

    Attributes:
        rank: the process among all of the job.
        at: when, in seconds since 1970.
        cause: whether it was its own; or it was ended from outside and left no word, as when the memory's limit is
            reached, and as NCCL does when another process has gone; or it noticed itself that another had.
        text: a message for the user, or a traceback.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    rank: int
    at: float
    cause: Literal["own", "silent", "lost_peer"]
    text: str


def first_failure(failures: Iterable[Failure]) -> Failure | None:
    """The one that brought the others down."""
    return min(failures, key=lambda failure: (_CAUSES.index(failure.cause), failure.at), default=None)


def run_worker(work: Callable[[Job], None]) -> None:
    """Read the job named on the command line and do it; why it failed goes to a file in the job's scratch."""
    die_with_run()
    job = Job.model_validate_json(Path(sys.argv[1]).read_bytes())
    try:
        with full_disk_told():
            work(job)
    except FlowmapError as error:
        _leave(job, str(error), "own")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        told = str(error).lower()
        _leave(job, traceback.format_exc(), "lost_peer" if any(sign in told for sign in _LOST_PEER) else "own")
        raise


def raise_failure(job: Job, failures: Iterable[Failure], otherwise: str) -> None:
    """Raise InvariantError with what the failures say, or with `otherwise` when there is none."""
    first = first_failure(failures)
    if first is None:
        raise InvariantError(f"{job.module} {otherwise}")
    crashed = first.text.startswith("Traceback")
    raise InvariantError(f"{job.module} failed in process {first.rank}: {first.text}" if crashed else first.text)


def _leave(job: Job, text: str, cause: Literal["own", "lost_peer"]) -> None:
    rank = int(os.environ.get("RANK", "0"))
    failure = Failure(rank=rank, at=time.time(), cause=cause, text=text)
    with contextlib.suppress(OSError):
        (job.scratch / f"failure-{rank}.json").write_text(failure.model_dump_json())
