"""The frame of a step: killed at any moment and started again, it ends in the same bytes; what is there is
reused."""

import random
import re
import subprocess
import sys
import time
from pathlib import Path

from flowmap.artifacts.manifest import Manifest, parse_manifest


def start(store: Path) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "tests.steps.slow_step",
        str(store),
        str(store.parent / "manifest.json"),
    ]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(store: Path) -> tuple[Manifest, str]:
    """Run the step to its end; what it made, and what it said."""
    process = start(store)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return parse_manifest((store.parent / "manifest.json").read_bytes(), where="the test"), said


def kill_when(store: Path, pattern: str) -> None:
    process = start(store)
    limit_s = time.monotonic() + 60
    while not list(store.glob(pattern)):
        assert process.poll() is None, "the step ended before it could be killed"
        assert time.monotonic() < limit_s
        time.sleep(0.01)
    process.kill()
    process.wait()


def test_killed_again_and_again_a_step_ends_in_the_same_bytes(tmp_path: Path) -> None:
    undisturbed, _ = finish(tmp_path / "once" / "store")
    store, moments = tmp_path / "killed" / "store", random.Random(time.time_ns())
    kill_when(store, "checkpoints/slow/*/000000?4/complete")
    for _ in range(3):
        process = start(store)
        seconds = moments.uniform(0, 6)
        print(f"killed after {seconds:.2f} s")  # shown when the test fails
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    made, said = finish(store)
    assert made == undisturbed
    assert re.search(r"goes on after \d+|slow: reused", said)
    assert not list(store.glob("checkpoints/**/complete"))
    again, said = finish(store)
    assert again == made
    assert "slow: reused" in said


def test_a_changed_byte_stops_it_and_names_the_file(tmp_path: Path) -> None:
    store = tmp_path / "store"
    made, _ = finish(store)
    (store / "artifacts" / made.digest / "sum.json").write_text("1.0")
    process = start(store)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert f"{made.digest}/sum.json" in said
    assert "Traceback" not in said
