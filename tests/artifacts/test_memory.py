"""What a transfer takes of memory does not depend on how large the file is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flowmap.artifacts.manifest import build_manifest
from tests.minio_server import MinioServer

MIB = 1 << 20
# Prints the most memory that the process had, in MiB.
CHILD = """
import sys
from pathlib import Path
from flowmap.artifacts.manifest import parse_manifest
from flowmap.artifacts.store import open_store
from flowmap.artifacts.transfer import fetch, publish
manifest, store = parse_manifest(sys.stdin.buffer.read(), where="stdin"), open_store(sys.argv[1])
if sys.argv[2] == "up":
    publish(store, Path(sys.argv[3]), manifest)
else:
    fetch(store, manifest, Path(sys.argv[3]))
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(int(status["VmHWM"].split()[0]) // 1024)  # what getrusage says is that of who started it, too
"""


def peak(url: str, what: str, folder: Path, manifest: bytes) -> int:
    command = [sys.executable, "-c", CHILD, url, what, str(folder)]
    return int(subprocess.run(command, input=manifest, capture_output=True, check=True).stdout)


@pytest.mark.parametrize("kind", ["local", "minio"])
def test_memory_does_not_grow_with_the_file(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = str(tmp_path / "store")
    if kind == "minio":
        minio: MinioServer = request.getfixturevalue("minio")
        url = f"s3://flowmap/{tmp_path.name}?endpoint={minio.endpoint}"
    peaks: dict[str, list[int]] = {"up": [], "down": []}
    for size in (96, 288):
        folder = tmp_path / str(size)
        folder.mkdir()
        with (folder / "weights").open("wb") as file:
            for _ in range(size):
                file.write(os.urandom(MIB))
        manifest = build_manifest(folder, step="test", step_digest="0").to_bytes()
        for what, place in (("up", folder), ("down", tmp_path / f"{size}-back")):
            peaks[what].append(peak(url, what, place, manifest))
    for what, (few, many) in peaks.items():
        assert many < 256, (what, peaks)
        assert many < few + 32, (what, peaks)
