"""How fast artifacts go to a store and come back, every byte hashed on the way, beside MinIO's own client
`mc`, which hashes none; and how fast files are hashed, beside sha256sum.

    make bench-store MC=/path/to/mc
    python -m benchmarks.store --mc mc --gib 1 --files 1000

A MinIO of this machine is the store. Each transfer is a process of its own, in turn, and its fastest of
seven is told, with what memory it took at most. Before each, as much memory as it needs is written to and
freed: a virtual machine gives memory that nobody uses back to its host within seconds, and a page that has
to be fetched again costs whoever comes next more than the transfer.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.minio_server import CREDENTIALS, MinioServer, minio_binary

from flowmap.artifacts.digest import sha256_of_file
from flowmap.artifacts.manifest import build_manifest, parse_manifest
from flowmap.artifacts.s3_store import S3Store
from flowmap.artifacts.transfer import fetch, publish

_TRIES = 7
_BUCKET = "bench"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mc", default="mc", help="MinIO's client")
    parser.add_argument("--gib", type=int, default=1, help="of the one large file")
    parser.add_argument("--files", type=int, default=1000, help="of a MiB each")
    parser.add_argument("--child", nargs=3, metavar=("WHAT", "FOLDER", "URL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _child(*options.child)
        return
    os.environ |= CREDENTIALS
    with tempfile.TemporaryDirectory() as scratch:
        server = MinioServer(minio_binary(), Path(scratch, "minio"))
        server.start()
        try:
            server.make_bucket(_BUCKET)
            _compare(Path(scratch), server.endpoint, options)
        finally:
            server.stop()


def _compare(scratch: Path, endpoint: str, options: argparse.Namespace) -> None:
    host = endpoint.replace("://", "://{AWS_ACCESS_KEY_ID}:{AWS_SECRET_ACCESS_KEY}@".format(**CREDENTIALS))
    os.environ["MC_HOST_THERE"] = host
    url = f"s3://{_BUCKET}/flowmap?endpoint={endpoint}"
    print("| what | flowmap, s | mc, s | ratio of speeds | memory, MiB |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, num, size in (("1 file", 1, options.gib << 30), ("many files", options.files, 1 << 20)):
        folder = scratch / name
        _write(folder, num, size)
        told = f"{name} of {size >> 20:,} MiB" if num == 1 else f"{num:,} files of {size >> 20} MiB"
        for what, command in (
            ("up", [options.mc, "cp", "--quiet", "--recursive", f"{folder}/", f"THERE/{_BUCKET}/mc-{num}/"]),
            (
                "down",
                [options.mc, "cp", "--quiet", "--recursive", f"THERE/{_BUCKET}/mc-{num}/", "{target}/"],
            ),
        ):
            ours, theirs, memory = [], [], []
            for attempt in range(_TRIES):
                target = scratch / f"{what}-{num}-{attempt}"
                place = folder if what == "up" else target
                seconds, peak = _ours(what, place, url, folder)
                ours.append(seconds)
                memory.append(peak)
                if what == "down":
                    shutil.rmtree(target)
                _touch(scratch, num * size)
                theirs.append(_timed(command, copied := scratch / f"mc-{num}-{attempt}"))
                shutil.rmtree(copied, ignore_errors=True)
            speed = min(theirs) / min(ours)
            print(
                f"| {told}, {what} | {min(ours):.2f} | {min(theirs):.2f} | "
                f"{speed:.2f} | {max(memory):.0f} |",
                flush=True,
            )
    large = scratch / "1 file" / "0"
    ours = [_seconds(lambda: sha256_of_file(large)) for _ in range(_TRIES)]
    theirs = [_timed(["sha256sum", str(large)], None) for _ in range(_TRIES)]
    print(
        f"| hashed, {options.gib} GiB | {min(ours):.2f} | {min(theirs):.2f} "
        f"(sha256sum) | {min(theirs) / min(ours):.2f} | |"
    )


def _write(folder: Path, num: int, size: int) -> None:
    """Files whose bytes can't be guessed or compressed."""
    folder.mkdir()
    for index in range(num):
        with (folder / str(index)).open("wb") as file:
            for _ in range(max(1, size >> 20)):
                file.write(os.urandom(min(size, 1 << 20)))


def _touch(folder: Path, size: int) -> None:
    """Leave at least so much memory free that the host has given already: a file, written and removed."""
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range((size >> 20) + 128):
            file.write(bytes(1 << 20))


def _ours(what: str, place: Path, url: str, folder: Path) -> tuple[float, float]:
    """Seconds and MiB of a process that publishes the folder, or fetches what was published of it."""
    manifest = folder.with_suffix(".json")
    if not manifest.exists():
        manifest.write_bytes(build_manifest(folder, step="bench", step_digest="d").to_bytes())
    command = [sys.executable, "-m", "benchmarks.store", "--child", what, str(place), url]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, input=manifest.read_bytes()).stdout
    seconds, peak = json.loads(told)
    return float(seconds), float(peak)


def _child(what: str, folder: str, url: str) -> None:
    manifest, store = parse_manifest(sys.stdin.buffer.read(), where="the manifest"), S3Store.from_url(url)
    work = publish if what == "up" else fetch
    arguments = (store, Path(folder), manifest) if what == "up" else (store, manifest, Path(folder))
    _touch(Path(folder).parent, sum(entry.size for entry in manifest.files))
    seconds = _seconds(lambda: work(*arguments))
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def _timed(command: list[str], target: Path | None) -> float:
    given = [word.replace("{target}", str(target)) for word in command]
    return _seconds(lambda: subprocess.run(given, check=True, stdout=subprocess.DEVNULL))


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
