"""What a process computes with, which decides the last digit of its results besides their inputs.

told = computed_with()                  # of this process; nothing where torch has not been at work in it
leave_machine(out, "tuned")             # in a training process, beside its results
told = take_machine(out)                # by whoever started it: that is no result
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_LEFT = "computed-with"


def computed_with() -> dict[str, Any]:
    """Instruction set and threads, and the GPU and its driver where there is one."""
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    told = {"instruction_set": torch.backends.cpu.get_cpu_capability(), "threads": torch.get_num_threads()}
    if not torch.cuda.is_available():
        return told
    return {**told, "gpu": torch.cuda.get_device_name(), "driver": _driver()}


def leave_machine(out: Path, name: str) -> None:
    """Say it of this process, beside what the training of that name came to."""
    (out / f"{_LEFT}-{name}.json").write_text(json.dumps(computed_with()))


def take_machine(out: Path) -> dict[str, Any]:
    """What trainings left, which goes; where several did, of the first by name. Nothing without any."""
    told: list[dict[str, Any]] = []
    for file in sorted(out.glob(f"{_LEFT}-*.json")):
        told.append(json.loads(file.read_bytes()))
        file.unlink()
    return told[0] if told else {}


def _driver() -> str | None:
    """The version of the GPU's driver; None where its own tool does not tell."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(done.stdout.split()), None)
