"""A real MinIO, built from source once and kept in a cache folder, started for the tests that need it.

Where it can't be built the tests are skipped with the reason; with CI=true they fail instead.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NoReturn

import pytest

VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "flowmap-tests", "AWS_SECRET_ACCESS_KEY": "flowmap-tests-secret"}
_BUILD_S = 1500


class MinioServer:
    """A server on a port of its own that can be stopped and come back with the same data."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self._binary, self._folder = binary, folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        user = {"MINIO_ROOT_USER": CREDENTIALS["AWS_ACCESS_KEY_ID"]}
        user["MINIO_ROOT_PASSWORD"] = CREDENTIALS["AWS_SECRET_ACCESS_KEY"]
        self._process = subprocess.Popen(
            [str(self._binary), "server", "--quiet", "--address", f"127.0.0.1:{self._port}", str(self._folder)],
            env={**os.environ, **user, "MINIO_BROWSER": "off", "MINIO_UPDATE": "off"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        limit_s = time.monotonic() + 60
        while not self._ready():
            assert self._process.poll() is None, "MinIO ended while it was starting"
            assert time.monotonic() < limit_s, "MinIO did not start within a minute"
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def make_bucket(self, bucket: str) -> None:
        from minio import Minio

        client = Minio(
            self.endpoint.removeprefix("http://"),
            access_key=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            secret_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            secure=False,
        )
        client.make_bucket(bucket)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.endpoint}/minio/health/ready", timeout=1) as answer:
                return int(answer.status) == 200
        except (urllib.error.URLError, OSError):
            return False


def minio_binary() -> Path:
    """The cached binary, built with the Go toolchain of this environment when it is missing."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flowmap" / "bin"
    binary = cache / f"minio-{VERSION}"
    if binary.is_file():
        return binary
    go = Path(sys.executable).with_name("go")
    if not go.is_file():
        _absent(f"{go.name} is missing beside {sys.executable}; `make setup` brings it")
    building = cache / f"building-{os.getpid()}"
    building.mkdir(parents=True)
    command = [str(go), "install", f"github.com/minio/minio@{VERSION}"]
    print(f"building MinIO once, about 3 minutes: {' '.join(command)}", file=sys.stderr, flush=True)
    environment = {**os.environ, "GOBIN": str(building), "GOTOOLCHAIN": "local"}
    try:
        done = subprocess.run(
            command, env=environment, cwd=building, capture_output=True, text=True, check=False, timeout=_BUILD_S
        )
        if done.returncode:
            _absent(f"`{' '.join(command)}` failed: {done.stderr[-500:]}")
        (building / "minio").replace(binary)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return binary


def _absent(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(f"no MinIO: {reason}")
    pytest.skip(f"no MinIO: {reason}")
