"""Environments of their own for programs of others, such as servers: what they need must not decide what
flowmap is tested with."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shared import made_once, session_folder


def environment_with(factory: pytest.TempPathFactory, name: str, *packages: str) -> Path:
    """The folder `bin` of an environment with these packages and nothing else, made once a session; the test
    is skipped where they can't be had."""

    def make(folder: Path) -> None:
        uv = str(Path(sys.executable).with_name("uv"))
        environment = os.environ | {"VIRTUAL_ENV": str(folder / "venv")}
        for command in (
            [uv, "venv", "--quiet", "--python", sys.executable, str(folder / "venv")],
            [uv, "pip", "install", "--quiet", *packages],
        ):
            done = subprocess.run(command, capture_output=True, text=True, timeout=400, env=environment)
            if done.returncode:
                # They come from a registry, which a machine without a network can't reach.
                pytest.skip(f"{' and '.join(packages)} can't be installed: {done.stderr.strip()[-200:]}")

    return made_once(session_folder(factory) / name, make) / "venv" / "bin"


def free_port() -> int:
    """One that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
