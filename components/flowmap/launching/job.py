"""A training job: what its processes are told, and what they leave when they fail.

The processes are `python -m flowmap.launching.worker JOB`, each of which runs `train(work)` of the job's
module.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from flowmap.artifacts.checkpoints import Checkpoints
from flowmap.artifacts.manifest import Manifest
from flowmap.artifacts.store import open_store
from flowmap.errors import InvariantError, StoreError
from flowmap.training.events import EventFiles
from flowmap.training.work import Work

_CAUSES = ("own", "memory", "store", "silent", "lost_peer")  # what tells more comes first
_STOP = "stop"


class Job(BaseModel):
    """What the processes of a job are told.

    Attributes:
        worker: the module whose `train` they run.
        section: the step's settings as JSON.
        name: tells several jobs of one step apart.
        inputs: local copies of the step's inputs.
        manifests: of the inputs that lie in the store as artifacts, for nodes that have no copy.
        out: where the worker leaves its results.
        scratch: for anything that need not survive; all processes of a node see it.
        store: the store's URL, for checkpoints.
        checkpoints: the prefix they lie under.
        num_processes: how many processes there are, on all nodes together.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    worker: str
    section: str
    name: str = ""
    inputs: dict[str, Path]
    manifests: dict[str, Manifest] = {}
    out: Path
    scratch: Path
    store: str
    checkpoints: str
    num_processes: int = 1

    def work(self) -> Work:
        """What one process gets."""
        store = open_store(self.store)
        return Work(
            section=self.section,
            name=self.name,
            inputs=self.inputs,
            out=self.out,
            scratch=self.scratch,
            checkpoints=Checkpoints(store, self.checkpoints),
            events=EventFiles(store, self.checkpoints.partition("/")[2], self.scratch / "tensorboard"),
            stop=self.stop_file,
        )

    @property
    def stop_file(self) -> Path:
        """A file that asks the training to save and end before it is done."""
        return self.scratch / _STOP

    @property
    def followed_name(self) -> str:
        """What whoever follows the job renews in the store."""
        return f"{self.checkpoints}/followed"

    @property
    def stopped_name(self) -> str:
        """What node 0 leaves in the store when training has stopped because nobody followed it."""
        return f"{self.checkpoints}/stopped"

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
            raise StoreError(
                f"no space is left for {self.scratch}; make room and run the same command again"
            ) from None


class Failure(BaseModel):
    """Why a process ended.

    Attributes:
        rank: the process among all of the job.
        at: when, in seconds since 1970.
        cause: whether it was its own; or its node's memory did not suffice; or the store stayed away; or it
            was ended from outside and left no word, as NCCL does when another process has gone; or it
            noticed itself that another had.
        text: a message for the user, or a traceback.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    rank: int
    at: float
    cause: Literal["own", "memory", "store", "silent", "lost_peer"]
    text: str


def first_failure(failures: Iterable[Failure]) -> Failure | None:
    """The one that brought the others down."""
    return min(failures, key=lambda failure: (_CAUSES.index(failure.cause), failure.at), default=None)


def raise_failure(job: Job, failures: Iterable[Failure], otherwise: str) -> None:
    """Raise what the failures say, or `otherwise` when there is none.

    Raises:
        StoreError: the store stayed away.
        InvariantError: anything else.
    """
    first = first_failure(failures)
    if first is None:
        raise InvariantError(f"{job.worker} {otherwise}")
    if first.cause == "store":
        raise StoreError(first.text)
    crashed = first.text.startswith("Traceback")
    raise InvariantError(
        f"{job.worker} failed in process {first.rank}: {first.text}" if crashed else first.text
    )
