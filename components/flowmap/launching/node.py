"""What each node of a distributed job runs: `python -m flowmap.launching.node`, with the job in the
environment.

Inputs come from the store, every byte checked; torchrun finds the other nodes by the PET_ variables that
Kubeflow Trainer sets. Node 0 leaves the results below `<checkpoints>/result` in the store, and a node that
failed says why below `<checkpoints>/failures`. What each printed is kept with the run. Training that nobody
follows any more saves and ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Literal

from flowmap.artifacts.manifest import build_manifest
from flowmap.artifacts.store import ObjectStore, open_store
from flowmap.artifacts.transfer import fetch, publish
from flowmap.errors import FlowmapError, StoreError
from flowmap.launching.followed import Watch
from flowmap.launching.job import Failure, Job, first_failure
from flowmap.launching.node_logs import node_log
from flowmap.launching.torchrun import bounded_threads, torchrun
from flowmap.progress import say
from flowmap.settings import environment

_NODE_VARIABLE = "PET_NODE_RANK"
_GRACE_S = 5
_UNFOLLOWED_S = 600.0
_MEMORY_EVENTS = Path("/sys/fs/cgroup/memory.events")
_OTHERS_S = (
    24 * 3600
)  # how long a node that is there waits for one that still has no machine, or pulls its image


def main() -> None:
    """Run this node's part; status 0, 1 after a failure, 143 when the node is taken away."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    node = int(os.environ.get(_NODE_VARIABLE, "0"))
    job = Job.model_validate_json(os.environ[environment.JOB])
    store = open_store(job.store)
    why = f"{job.failures_prefix}/{node}.json"
    if store.exists(why):  # of the attempt before
        store.delete(why)
    with tempfile.TemporaryDirectory(prefix="flowmap-node-") as name:
        folder = Path(name)
        with node_log(store, node, folder / "log"):
            failure = _work(job, store, node, folder)
            if failure is not None:
                say(failure.text)
    if failure is not None:
        store.put(why, failure.model_dump_json().encode())
        sys.exit(1)


def _work(job: Job, store: ObjectStore, node: int, folder: Path) -> Failure | None:
    """Do this node's part; why it failed, if it did."""
    try:
        return _train(job, store, node, folder)
    except FlowmapError as error:
        cause: Literal["store", "own"] = "store" if isinstance(error, StoreError) else "own"
        return Failure(rank=-1, at=time.time(), cause=cause, text=f"node {node}: {error}")
    except Exception:
        return Failure(rank=-1, at=time.time(), cause="own", text=f"node {node}: {traceback.format_exc()}")


def _train(job: Job, store: ObjectStore, node: int, folder: Path) -> Failure | None:
    for name, manifest in job.manifests.items():
        fetch(store, manifest, folder / "inputs" / name)
    inputs = {name: folder / "inputs" / name for name in job.manifests}
    here = job.model_copy(update={"inputs": inputs, "out": folder / "out", "scratch": folder / "scratch"})
    here.out.mkdir()
    say(f"node {node}: has its inputs, and starts its processes")
    unfollowed_s = float(os.environ.get(environment.UNFOLLOWED, _UNFOLLOWED_S))
    here.scratch.mkdir(parents=True, exist_ok=True)
    with Watch(store, job, unfollowed_s, here.stop_file) as watch:
        status = _run(here)
    if status:
        return first_failure(here.failures()) or _silent(node)
    if node == 0 and watch.has_stopped:
        store.put(job.stopped_name, b"")
    elif node == 0:
        manifest = build_manifest(here.out, step="training", step_digest=job.checkpoints.rsplit("/", 1)[-1])
        publish(store, here.out, manifest, job.result_prefix)
    return None


def _silent(node: int) -> Failure:
    """A process ended that left nothing: was it the memory's limit, as far as this container knows?"""
    killed = _oom_kills()
    text = (
        f"node {node} needs more memory than its limit: {killed} processes were ended for that"
        if killed
        else f"a process of node {node} ended without a word, as when the memory's limit is reached; see "
        "its log"
    )
    return Failure(rank=-1, at=time.time(), cause="memory" if killed else "silent", text=text)


def _oom_kills() -> int:
    """How often the kernel has ended a process of this container because memory was used up."""
    with contextlib.suppress(OSError, ValueError):
        for line in _MEMORY_EVENTS.read_text().splitlines():
            name, _, number = line.partition(" ")
            if name == "oom_kill":
                return int(number)
    return 0


def _run(job: Job) -> int:
    """Start the processes and wait for them; they end when this one is told to."""
    threads = bounded_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    command, variables = torchrun(job, threads, "--rdzv-conf", f"timeout={_OTHERS_S}")
    with subprocess.Popen(command, env=variables) as process:
        try:
            return process.wait()
        except SystemExit:
            process.terminate()
            try:
                process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
            raise


if __name__ == "__main__":
    main()
