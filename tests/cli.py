"""The command line from outside: a process, its output, its exit status."""

import os
import subprocess
import sys
from collections.abc import Mapping

COMMAND = [sys.executable, "-m", "flowmap_pipelines.cli"]


def flowmap(
    *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env={**os.environ, **(environment or {})},
    )
