"""Seconds and memory of GRPO's rollouts with their updates: the DeepSpeed engine against plain PyTorch.

    make bench-engine

Both train the same network from the same start on the same samples and rewards, in turn in one process: a
machine that is noisy is so for both. The figure is the ratio of the medians. Memory is the largest resident
set of a process that does one of both, and of the plain one's never imports DeepSpeed.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from flowmap.grpo.trainer import Grpo
from flowmap.models import MlpFacts
from flowmap.rewards import Weighted
from flowmap.rewards.mmd import MmdReward
from flowmap.rewards.preference import PreferenceNetwork, PreferenceReward
from flowmap.settings import GrpoSettings
from flowmap.training.engine import Engine, TorchEngine

SHAPE, NUM_PROMPTS, ROUNDS, WARM_UP = (1, 8, 8), 10, 20, 3


def make_grpo(engine: Engine) -> Grpo:
    """GRPO of the size of examples/digits.yaml on untrained models: what they know does not change the
    seconds."""
    torch.manual_seed(0)
    prompts = tuple(str(prompt) for prompt in range(NUM_PROMPTS))
    model = MlpFacts(shape=SHAPE, prompts=prompts, width=256, depth=4, max_frequency=3.0).build()
    preference = PreferenceReward(
        PreferenceNetwork(SHAPE, NUM_PROMPTS).eval().requires_grad_(False), prompts, 0.0
    )
    real = MmdReward({prompt: torch.randn(30, *SHAPE) for prompt in prompts})
    return Grpo(model, [Weighted(preference), Weighted(real, 3.0)], prompts, GrpoSettings(), engine)


def make_engine(name: str) -> Engine:
    if name == "torch":
        return TorchEngine()
    from flowmap.training.deepspeed_engine import DeepSpeedEngine

    return DeepSpeedEngine()


def peak_mib(name: str) -> float:
    """The largest resident set of a process of its own that trains in one of both ways."""
    command = [sys.executable, __file__, "--peak-of", name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def measure_peak(name: str) -> float:
    """MiB of this process after a few rollouts."""
    grpo = make_grpo(make_engine(name))
    for index in range(WARM_UP):
        grpo.rollout(index)
    assert ("deepspeed" in sys.modules) == (name == "deepspeed")
    # Not getrusage's maxrss: a process inherits that of the one that started it.
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return float(found[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--peak-of", choices=["deepspeed", "torch"], help="only the memory of one of both, in MiB"
    )
    if name := parser.parse_args().peak_of:
        print(measure_peak(name))
        return
    compare_seconds()
    peaks = {name: peak_mib(name) for name in ("deepspeed", "torch")}
    print(f"memory   deepspeed {peaks['deepspeed']:.0f} MiB, torch {peaks['torch']:.0f} MiB")
    print(f"ratio {peaks['deepspeed'] / peaks['torch']:.3f} (aim: at most 1.20)")


def compare_seconds() -> None:
    trainers = {name: make_grpo(make_engine(name)) for name in ("deepspeed", "torch")}
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    for index in range(WARM_UP + ROUNDS):
        for name, grpo in trainers.items():
            began = time.perf_counter()
            grpo.rollout(index)
            if index >= WARM_UP:
                seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    weights = (grpo.model.network.parameters() for grpo in trainers.values())
    differences = [float((one - other).detach().abs().max()) for one, other in zip(*weights, strict=True)]
    for name, values in seconds.items():
        print(f"{name:<10} median {medians[name]:.3f} s  min {min(values):.3f}  max {max(values):.3f}")
    print(f"ratio {medians['deepspeed'] / medians['torch']:.3f} (aim: at most 1.10)")
    print(
        f"largest difference of a weight after {WARM_UP + ROUNDS} rollouts: {max(differences):.1e}",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
