"""A real MinIO, started for the tests that need it."""

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from minio import Minio

from tests.go_programs import MINIO, go_program

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "flowmap-tests", "AWS_SECRET_ACCESS_KEY": "flowmap-tests-secret"}


class MinioServer:
    """A server on a port of its own that can be stopped and come back with the same data."""

    def __init__(
        self,
        binary: Path,
        folder: Path,
        host: str = "127.0.0.1",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._binary, self._folder, self._host = binary, folder, host
        self._environment = environment or {}
        with socket.socket() as probe:
            probe.bind((host, 0))
            self._port = probe.getsockname()[1]
        self.endpoint = f"http://{host}:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        user = {"MINIO_ROOT_USER": CREDENTIALS["AWS_ACCESS_KEY_ID"]}
        user["MINIO_ROOT_PASSWORD"] = CREDENTIALS["AWS_SECRET_ACCESS_KEY"]
        self._process = subprocess.Popen(
            [
                str(self._binary),
                "server",
                "--quiet",
                "--address",
                f"{self._host}:{self._port}",
                str(self._folder),
            ],
            env={**os.environ, **user, **self._environment, "MINIO_BROWSER": "off", "MINIO_UPDATE": "off"},
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

    def client(self) -> Minio:
        """As the administrator."""
        return Minio(
            self.endpoint.removeprefix("http://"),
            access_key=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            secret_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            secure=False,
        )

    def make_bucket(self, bucket: str, *, object_lock: bool = False) -> None:
        self.client().make_bucket(bucket, object_lock=object_lock)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.endpoint}/minio/health/ready", timeout=1) as answer:
                return int(answer.status) == 200
        except (urllib.error.URLError, OSError):
            return False


def minio_binary() -> Path:
    return go_program(MINIO)
