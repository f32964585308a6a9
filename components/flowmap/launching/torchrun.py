"""Training jobs on this machine: torchrun starts each one's processes, a single one is started as it is, and
the first that fails ends the others."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence

from flowmap.launching.job import Job, raise_failure
from flowmap.launching.processes import die_with_parent
from flowmap.settings import environment

_WORKER = "flowmap.launching.worker"
_POLL_S = 0.1
_GRACE_S = 10
_MOST_THREADS = 8


def run_in_place(jobs: Sequence[Job]) -> None:
    """Run the jobs side by side; they share the cores. Raises what `raise_failure` does."""
    threads = _threads_each(sum(job.num_processes for job in jobs))
    processes = [_start(job, threads) for job in jobs]
    try:
        while any(process.poll() is None for process in processes):
            if any(process.poll() for process in processes):
                break
            time.sleep(_POLL_S)
    finally:
        _stop(processes)
    failed = [
        (job, process.returncode) for job, process in zip(jobs, processes, strict=True) if process.returncode
    ]
    # One that was ended because of another has left nothing.
    for job, status in sorted(failed, key=lambda pair: not pair[0].failures()):
        raise_failure(job, job.failures(), f"ended with status {status}; its output says more")


def _threads_each(num_processes: int) -> int:
    """How many threads each of the processes on this machine may use."""
    return bounded_threads((os.cpu_count() or 1) // num_processes)


def bounded_threads(num: int) -> int:
    """At least one, and never so many that results come to depend on their number.

    Up to eight threads sums are split alike: the same run gives the same bytes. With sixteen they are not.
    """
    return max(1, min(num, _MOST_THREADS))


def torchrun(job: Job, threads: int, *options: str) -> tuple[list[str], dict[str, str]]:
    """The command that starts a job's processes on this machine, and its environment; leaves the job's file
    behind."""
    command = [sys.executable, "-m", "torch.distributed.run", *options, *_worker(job)]
    return command, _variables(threads)


def _start(job: Job, threads: int) -> subprocess.Popen[bytes]:
    if job.num_processes == 1:  # torchrun would take seconds to find nobody to bring together
        command, variables = [sys.executable, *_worker(job)], _variables(threads) | environment.WORLD_OF_ONE
    else:
        options = ("--standalone", "--nproc-per-node", str(job.num_processes))
        command, variables = torchrun(job, threads, *options)
    return subprocess.Popen(command, env=variables, preexec_fn=die_with_parent)


def _worker(job: Job) -> list[str]:
    """What a training process runs; leaves the job's file behind."""
    job.scratch.mkdir(parents=True, exist_ok=True)
    file = job.scratch / "job.json"
    file.write_text(job.model_dump_json())
    return ["-m", _WORKER, str(file)]


def _variables(threads: int) -> dict[str, str]:
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        # Threads that spin while they wait take the cores from the processes beside them.
        "OMP_WAIT_POLICY": "PASSIVE",
        # A file in the current folder must not stand for a module.
        "PYTHONSAFEPATH": "1",
    }


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
