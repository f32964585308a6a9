"""Programs written in Go that tests need: built from source once, side by side, and kept in a cache folder.

A session begins to build what its tests need before the first of them runs (`begin_to_build`), and a test
waits for what it uses. Several processes never build the same program. Where one can't be built the tests
are skipped with the reason; with CI=true they fail instead.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

_BUILD_S = 1500
# Neither optimised nor with symbols for a debugger: a quarter less to build, which is what tests wait for.
_QUICK = ("-gcflags=all=-N -l", "-ldflags=-s -w")


@dataclass(frozen=True)
class GoProgram:
    """A program's name, the package it is built from, and its version."""

    name: str
    package: str
    version: str

    @property
    def binary(self) -> Path:
        return _cache() / f"{self.name}-{self.version}"


MINIO = GoProgram("minio", "github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c")
HELM = GoProgram("helm", "helm.sh/helm/v3/cmd/helm", "v3.22.0")
ACTIONLINT = GoProgram("actionlint", "github.com/rhysd/actionlint/cmd/actionlint", "v1.7.7")
BY_FIXTURE = {"minio": MINIO, "helm": HELM, "actionlint": ACTIONLINT}


def go_program(program: GoProgram) -> Path:
    """The cached program, built with the Go toolchain of this environment when it is missing."""
    problem = _build(program)
    if problem is not None:
        _absent(program.name, problem)
    return program.binary


def begin_to_build(fixtures: Iterable[str]) -> None:
    """Build in the background what tests with these fixtures will ask for."""
    for program in sorted(
        {BY_FIXTURE[name] for name in fixtures if name in BY_FIXTURE}, key=lambda each: each.name
    ):
        threading.Thread(target=_build, args=(program,), daemon=True).start()


def _build(program: GoProgram) -> str | None:
    """Build it unless it is there; why it can't be, if it can't.

    Only one process at a time builds a program.
    """
    _cache().mkdir(parents=True, exist_ok=True)
    with (_cache() / f"{program.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return None if program.binary.is_file() else _install(program)


def _install(program: GoProgram) -> str | None:
    go = Path(sys.executable).with_name("go")
    if not go.is_file():
        return f"go is missing beside {sys.executable}; `make setup` brings it"
    building = _cache() / f"building-{program.name}"
    building.mkdir(exist_ok=True)
    command = [str(go), "install", *_QUICK, f"{program.package}@{program.version}"]
    print(f"building {program.name} once, some minutes: {' '.join(command)}", file=sys.stderr, flush=True)
    environment = {**os.environ, "GOBIN": str(building), "GOTOOLCHAIN": "local"}
    try:
        done = subprocess.run(
            command,
            env=environment,
            cwd=building,
            capture_output=True,
            text=True,
            check=False,
            timeout=_BUILD_S,
        )
        if done.returncode:
            return f"`{' '.join(command)}` failed: {done.stderr[-500:]}"
        (building / program.name).replace(program.binary)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return None


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flowmap" / "bin"


def _absent(name: str, reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(f"no {name}: {reason}")
    pytest.skip(f"no {name}: {reason}")
