"""Whole runs through the command line, as small as they can be."""

import json
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cli import COMMAND, flowmap

CONFIG = """
name: tiny
base_training: {width: 64, depth: 2, updates: 300, batch_size: 128, max_gap: 1.0, max_speed_ratio: 4.0}
reward_training: {updates: 200}
grpo_finetuning: {rollouts: 60, groups: 8, group_size: 8, learning_rate: 2.0e-4, mmd_weight: 1, snapshots: 2,
  kl_target: null, kl_weight: 0.02, grid: [1, 0.5, 0.05, 0], checkpoint_every: 20}
evaluation: {samples_per_prompt: 40, evaluations: [1, 3], baseline_evaluations: [3, 10], judge_updates: 300,
  resamples: 500, frechet_tolerance: 1.0, recall_tolerance: 0.2, diversity_tolerance: 0.3}
"""


@dataclass(frozen=True)
class Finished:
    """A run that has ended: its status, what it printed for programs, and what for people."""

    status: int
    outcome: dict[str, Any]
    told: str

    def reused(self) -> set[str]:
        return {name for name, step in self.outcome["steps"].items() if step["reused"]}

    def digests(self) -> dict[str, str]:
        return {name: step["artifact"] for name, step in self.outcome["steps"].items()}


def arguments(root: Path, *overrides: str) -> list[str]:
    """Of the command that runs the tiny configuration."""
    config = root.parent / "tiny.yaml"
    config.write_text(CONFIG)
    sets = [word for override in overrides for word in ("--set", override)]
    return ["run", str(config), "--root", str(root), "--json", *sets]


def run(root: Path, *overrides: str, environment: Mapping[str, str] | None = None) -> Finished:
    done = flowmap(*arguments(root, *overrides), environment=environment)
    outcome = json.loads(done.stdout) if done.stdout else {}
    return Finished(done.returncode, outcome, done.stderr)


def kill_when(root: Path, glob: str, *overrides: str) -> None:
    """Start a run and kill it with signal 9 as soon as a file below the root matches."""
    process = subprocess.Popen(
        [*COMMAND, *arguments(root, *overrides)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    limit_s = time.monotonic() + 300
    while not list(root.glob(glob)):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < limit_s
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
