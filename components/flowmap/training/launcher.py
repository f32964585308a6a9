"""Starts training processes in place, with torchrun, and waits for them.

    launch([Job(module="flowmap.grpo_finetuning.worker", num_processes=2, ...)])      # in a step
    run_worker(train)                                                                 # in the worker's __main__

A worker is a plain program with a job file as its argument; it knows nothing of pipelines. Several jobs run side by
side and share the machine's cores.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from flowmap.artifacts.checkpoints import Checkpoints
from flowmap.artifacts.store import open_store
from flowmap.errors import FlowmapError, InvariantError, StoreError, full_disk_told
from flowmap.processes import die_with_parent, die_with_run

_POLL_S = 0.1
_GRACE_S = 10


class Job(BaseModel):
    """What a worker is told.

    Attributes:
        module: the worker, run as a program.
        settings: the run's configuration as JSON.
        inputs: local copies of the step's inputs.
        out: where the worker leaves its results.
        scratch: for anything that need not survive; all processes of the job see it.
        store: the store's URL, for checkpoints.
        checkpoints: the prefix they lie under.
        num_processes: how many processes torchrun starts.
        arguments: what tells several jobs of one step apart.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    module: str
    settings: str
    inputs: dict[str, Path]
    out: Path
    scratch: Path
    store: str
    checkpoints: str
    num_processes: int = 1
    arguments: dict[str, str] = {}

    def open_checkpoints(self) -> Checkpoints:
        return Checkpoints(open_store(self.store), self.checkpoints)

    @property
    def error_file(self) -> Path:
        return self.scratch / "worker-error"


def launch(jobs: Sequence[Job]) -> None:
    """Run the jobs side by side. The first that fails ends the others.

    Raises:
        InvariantError: with the worker's own message, when it left one.
        StoreError: there was no room even for the message.
    """
    num_processes = sum(job.num_processes for job in jobs)
    threads = max(1, (os.cpu_count() or 1) // num_processes)
    processes = [_start(job, threads) for job in jobs]
    try:
        while any(process.poll() is None for process in processes):
            if any(process.poll() for process in processes):
                break
            time.sleep(_POLL_S)
    finally:
        _stop(processes)
    for job, process in zip(jobs, processes, strict=True):
        if process.returncode and job.error_file.is_file():
            if told := job.error_file.read_text():
                raise InvariantError(told)
            raise StoreError(f"no space is left for {job.scratch}; make room and run the same command again")
    for job, process in zip(jobs, processes, strict=True):
        if process.returncode:
            raise InvariantError(f"{job.module} ended with status {process.returncode}; its output says more")


def run_worker(work: Callable[[Job], None]) -> None:
    """Read the job named on the command line and do it; what a person can mend goes to the job's error file."""
    die_with_run()
    job = Job.model_validate_json(Path(sys.argv[1]).read_bytes())
    try:
        with full_disk_told():
            work(job)
    except FlowmapError as error:
        with contextlib.suppress(OSError):
            job.error_file.write_text(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _start(job: Job, threads: int) -> subprocess.Popen[bytes]:
    job.scratch.mkdir(parents=True, exist_ok=True)
    file = job.scratch / "job.json"
    file.write_text(job.model_dump_json())
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(job.num_processes), "-m", job.module, str(file)]
    # Threads that spin while they wait take the cores from the processes beside them.
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.Popen(command, env=environment, preexec_fn=die_with_parent)


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
