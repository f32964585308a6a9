"""Whole runs through the command line, as small as they can be."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from flowmap.artifacts.local_store import LocalStore
from flowmap.registry import Registry
from tests.cli import flowmap

# Two in five captions at random, so that there is something to buy, and in few rollouts.
CONFIG = """
name: tiny
data_prep: {caption_noise: 0.4}
base_training: {width: 64, depth: 2, updates: 250, batch_size: 128, max_gap: 1.0, max_speed_ratio: 4.0}
reward_training: {updates: 100, classifier_updates: 200}
grpo_finetuning: {rollouts: 16, groups: 8, group_size: 16, learning_rate: 3.0e-4, snapshots: 2,
  kernel: endpoint, composed: true, window: [0], shared_start: false, advantage_std: batch,
  rewards: [{kind: classifier}, {kind: preference}, {kind: mmd, weight: 3}],
  kl_target: 0.3, kl_weight: 0.3, grid: [1, 0.6, 0.3, 0], checkpoint_every: 8}
evaluation: {samples_per_prompt: 40, evaluations: [1, 3], baseline_evaluations: [3], judge_updates: 200,
  resamples: 50, kid_tolerance: 0.3, frechet_tolerance: 3.0, recall_tolerance: 0.2, coverage_tolerance: 0.2,
  diversity_tolerance: 0.3}
"""


TRAINING = {"data_prep", "base_training", "reward_training", "grpo_finetuning"}


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


def registry(root: Path) -> Registry:
    """That of the tiny model below a root."""
    return Registry(LocalStore(root / "store"), "tiny")


def arguments(root: Path, *overrides: str) -> list[str]:
    """Of the command that runs the tiny configuration."""
    config = root.parent / "tiny.yaml"
    config.write_text(CONFIG)
    sets = [word for each in overrides for word in ([each] if each.startswith("--") else ["--set", each])]
    return ["run", str(config), "--root", str(root), "--json", *sets]


def run(root: Path, *overrides: str, environment: Mapping[str, str] | None = None) -> Finished:
    done = flowmap(*arguments(root, *overrides), environment=environment)
    outcome = json.loads(done.stdout) if done.stdout else {}
    return Finished(done.returncode, outcome, done.stderr)


@contextmanager
def damaged(file: Path, how: str) -> Iterator[None]:
    """For a while a file is `gone`, lacks its last byte (`cut`), or has one bit of its middle `flipped`."""
    whole = file.read_bytes()
    try:
        if how == "gone":
            file.unlink()
        elif how == "cut":
            file.write_bytes(whole[:-1])
        else:
            middle = len(whole) // 2
            file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        yield
    finally:
        file.write_bytes(whole)


def write_shapes(folder: Path, num: int) -> None:
    """Images of red disks and blue bars somewhere on grey, their table, and preferences for the bright
    ones."""
    random = np.random.default_rng(0)
    rows, pairs = [], []
    folder.mkdir()
    for index in range(num):
        levels = random.integers(90, 120, (12, 12, 3))
        y, x, light = *random.integers(3, 9, 2), int(random.integers(150, 255))
        down, right = np.mgrid[:12, :12]
        if index % 2:
            levels[(down - y) ** 2 + (right - x) ** 2 <= 6] = (light, 30, 30)
        else:
            levels[abs(down - y) <= 1] = (30, 30, light)
        Image.fromarray(levels.astype(np.uint8)).save(folder / f"{index:03d}.png")
        rows.append((f"{index:03d}.png", "red disk" if index % 2 else "blue bar"))
        if index >= 2:
            pairs.append((rows[-1][1], rows[-1][0], rows[-3][0]))
    pd.DataFrame(rows, columns=["file_name", "prompt"]).to_csv(folder / "metadata.csv", index=False)
    pd.DataFrame(pairs, columns=["prompt", "chosen", "rejected"]).to_csv(folder / "pairs.csv", index=False)
