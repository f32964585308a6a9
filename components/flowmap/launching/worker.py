"""One training process: `torchrun ... -m flowmap.launching.worker JOB`, with the job's file.

It runs `train(work)` of the job's module, which knows nothing of pipelines, nor of what started it.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Literal

from flowmap.errors import FlowmapError, StoreError, full_disk_told
from flowmap.launching.job import Failure, Job
from flowmap.launching.processes import die_with_run
from flowmap.machine import leave_machine

# What PyTorch says where a process it talks to is gone. NCCL and gloo say much else, such as that memory is
# used up or two processes share a GPU, which are faults of one's own.
_LOST_PEER = (
    "gloo/transport/",
    "connection closed by peer",
    "connection reset by peer",
    "ncclremoteerror",
    "communicator was aborted",
    "collective operation timeout",
)


def main() -> None:
    """Do the job named on the command line; why it failed goes to a file in its scratch."""
    die_with_run()
    job = Job.model_validate_json(Path(sys.argv[1]).read_bytes())
    try:
        with full_disk_told():
            importlib.import_module(job.worker).train(job.work())
            if os.environ.get("RANK", "0") == "0":
                leave_machine(job.out, job.name)
    except FlowmapError as error:
        _leave(job, str(error), "store" if isinstance(error, StoreError) else "own")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        _leave(job, traceback.format_exc(), "lost_peer" if has_lost_peer(error) else "own")
        raise


def has_lost_peer(error: Exception) -> bool:
    """Whether an error says that another process of the job has gone."""
    told = str(error).lower()
    return isinstance(error, RuntimeError | OSError) and any(sign in told for sign in _LOST_PEER)


def _leave(job: Job, text: str, cause: Literal["own", "store", "lost_peer"]) -> None:
    rank = int(os.environ.get("RANK", "0"))
    failure = Failure(rank=rank, at=time.time(), cause=cause, text=text)
    with contextlib.suppress(OSError):
        (job.scratch / f"failure-{rank}.json").write_text(failure.model_dump_json())


if __name__ == "__main__":
    main()
    # The work is done and written. On busy machines an orderly exit aborts now and then, for a thread of
    # torch's that nobody has joined ("terminate called without an active exception").
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
