"""The frame of a step: killed at any moment and started again, it ends in the same bytes; what is there is
reused."""

import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flowmap.artifacts.manifest import Manifest, artifact_digest, parse_manifest
from tests.faults import fault


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


@fault(
    "this machine's run is killed, at any moment",
    "whoever runs the same command again; it goes on from the newest checkpoint and ends in the same bytes",
    "",
    "the terminal",
    of="processes",
)
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


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_what_is_damaged_is_set_aside_and_made_again(tmp_path: Path, damage: str) -> None:
    store = tmp_path / "store"
    made, _ = finish(store)
    file = store / "artifacts" / made.digest / "sum.json"
    whole = file.read_bytes()
    if damage == "changed":
        file.write_text("1.0")
    else:
        file.unlink()
    again, said = finish(store)
    assert again == made
    assert file.read_bytes() == whole
    assert f"{made.digest}/sum.json" in said
    assert "the step runs again" in said
    kept = store / "quarantine" / "artifacts" / made.digest / "sum.json"
    assert kept.exists() == (damage == "changed")
    assert "slow: reused" in finish(store)[1]


def test_whoever_came_to_the_same_bytes_later_has_damaged_nothing(tmp_path: Path) -> None:
    store = tmp_path / "store"
    made, _ = finish(store)
    later = made.model_copy(update={"step_digest": "e" * 64})
    (store / "artifacts" / made.digest / "manifest.json").write_bytes(later.to_bytes())
    again, said = finish(store)
    assert again == made
    assert "slow: reused" in said
    assert not (store / "quarantine").exists()


def test_what_comes_to_something_else_than_before_is_an_error(tmp_path: Path) -> None:
    store = tmp_path / "store"
    made, _ = finish(store)
    (result,) = store.glob("steps/*.json")
    other = made.model_copy(
        update={"files": (*made.files[:1], made.files[0].model_copy(update={"path": "x"}))}
    )
    other = other.model_copy(update={"digest": artifact_digest(other.files)})
    result.write_bytes(other.to_bytes())
    process = start(store)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert f"came to artifact {made.digest}, and before it was damaged to {other.digest}" in said
    assert "Traceback" not in said
