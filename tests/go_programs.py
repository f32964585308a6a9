"""Programs written in Go that tests need: built from source once, kept in a cache folder.

Where one can't be built the tests are skipped with the reason; with CI=true they fail instead.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

_BUILD_S = 1500


def go_program(name: str, package: str, version: str) -> Path:
    """The cached program, built with the Go toolchain of this environment when it is missing."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flowmap" / "bin"
    binary = cache / f"{name}-{version}"
    if binary.is_file():
        return binary
    go = Path(sys.executable).with_name("go")
    if not go.is_file():
        _absent(name, f"go is missing beside {sys.executable}; `make setup` brings it")
    building = cache / f"building-{os.getpid()}"
    building.mkdir(parents=True)
    command = [str(go), "install", f"{package}@{version}"]
    print(f"building {name} once, some minutes: {' '.join(command)}", file=sys.stderr, flush=True)
    environment = {**os.environ, "GOBIN": str(building), "GOTOOLCHAIN": "local"}
    try:
        done = subprocess.run(
            command, env=environment, cwd=building, capture_output=True, text=True, check=False, timeout=_BUILD_S
        )
        if done.returncode:
            _absent(name, f"`{' '.join(command)}` failed: {done.stderr[-500:]}")
        (building / name).replace(binary)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return binary


def _absent(name: str, reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(f"no {name}: {reason}")
    pytest.skip(f"no {name}: {reason}")
