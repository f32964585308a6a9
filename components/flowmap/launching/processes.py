"""Processes that do not outlive the run that started them, not even when it is killed with signal 9.

Otherwise the training processes of a killed run would go on, beside those of the run that resumes it.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import threading

from flowmap.settings import environment

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """For a child between fork and exec: Linux kills it when its parent ends; elsewhere nothing happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def die_with_run() -> None:
    """Kill this process when the run that the environment names ends; without one, as in a pod, nothing
    happens.

    The run need not be the parent: a shell and a launcher stand between them.
    """
    pid = os.environ.get(environment.RUN_PID)
    if pid is None or sys.platform != "linux":
        return
    try:
        run = os.pidfd_open(int(pid))
    except ProcessLookupError:
        os.kill(os.getpid(), signal.SIGKILL)
        return
    except OSError:  # a kernel before 5.3, or a sandbox that forbids it: go on without
        return

    def wait() -> None:
        select.select([run], [], [])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, name="die-with-run", daemon=True).start()
