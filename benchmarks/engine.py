"""Seconds and memory of GRPO's rollouts with their updates: the DeepSpeed engine against a bare PyTorch loop.

    make bench-engine

Both train the same network from the same start on the same samples and rewards, in turn in one process: a machine that
is noisy is so for both. The figure is the ratio of the medians. Memory is the largest resident set of a process that
does one of both, and of the bare one's never imports DeepSpeed.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from flowmap.settings import RunConfig
from flowmap.grpo_finetuning import worker
from flowmap.maps import TwoTimeMap
from flowmap.models import ModelFacts, save_weights, write_model_facts
from flowmap.rewards.preference import REFERENCE, PreferenceFacts, PreferenceNetwork, write_preference
from flowmap.launching.job import Job

SHAPE, NUM_PROMPTS, ROUNDS, WARM_UP = (1, 8, 8), 10, 20, 3


class BareEngine:
    """What the engine does, in the ten lines that a single process needs."""

    def __init__(self, network: nn.Module, learning_rate: float, accumulation: int) -> None:
        self.network, self.accumulation, self.done = network, accumulation, 0
        self.optimizer = torch.optim.AdamW(network.parameters(), learning_rate, weight_decay=1e-4)

    def __call__(self, x: Tensor, t: Tensor, r: Tensor, prompt: Tensor) -> Tensor:
        found: Tensor = self.network(x, t, r, prompt)
        return found

    def backward(self, loss: Tensor) -> None:
        (loss / self.accumulation).backward()

    def step(self) -> None:
        self.done += 1
        if self.done % self.accumulation == 0:
            nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()


def make_job(folder: Path) -> Job:
    """A job of the size of examples/digits.yaml on untrained models: what they know does not change the seconds."""
    torch.manual_seed(0)
    base, reward = folder / "base", folder / "reward"
    for path in (base, reward, folder / "out", folder / "scratch"):
        path.mkdir()
    prompts = tuple(str(prompt) for prompt in range(NUM_PROMPTS))
    facts = ModelFacts(shape=SHAPE, prompts=prompts, width=256, depth=4, max_frequency=3.0)
    write_model_facts(base, facts)
    save_weights(facts.build(), base / "map.safetensors")
    preference = PreferenceFacts(shape=SHAPE, num_prompts=NUM_PROMPTS, real_score=0.0, pair_accuracy={}, num_pairs=0)
    write_preference(reward, PreferenceNetwork(SHAPE, NUM_PROMPTS), preference)
    images = {"images": torch.randn(300, *SHAPE), "prompts": torch.arange(300) % NUM_PROMPTS}
    save_file(images, reward / REFERENCE)
    return Job(
        module="none",
        settings=RunConfig(name="bench").to_json(),
        inputs={"base": base, "reward": reward},
        out=folder / "out",
        scratch=folder / "scratch",
        store=str(folder / "store"),
        checkpoints="checkpoints/bench",
    )


def peak_mib(name: str) -> float:
    """The largest resident set of a process of its own that trains in one of both ways."""
    command = [sys.executable, __file__, "--peak-of", name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def measure_peak(name: str) -> float:
    """MiB of this process after a few rollouts."""
    if name == "bare":
        torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)

        def bare_engine(network: nn.Module, optimizer: torch.optim.Optimizer, **options: Any) -> BareEngine:
            return BareEngine(network, optimizer.param_groups[0]["lr"], options["accumulation"])

        worker.make_engine = bare_engine
    with tempfile.TemporaryDirectory() as folder:
        trainer = worker.Trainer(make_job(Path(folder)))
        for rollout in range(WARM_UP):
            trainer._rollout(rollout)
    assert ("deepspeed" in sys.modules) == (name == "engine")
    # Not getrusage's maxrss: a process inherits that of the one that started it.
    status = Path("/proc/self/status").read_text()
    return float(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peak-of", choices=["engine", "bare"], help="only the memory of one of both, in MiB")
    if name := parser.parse_args().peak_of:
        print(measure_peak(name))
        return
    compare_seconds()
    peaks = {name: peak_mib(name) for name in ("engine", "bare")}
    print(f"memory   engine {peaks['engine']:.0f} MiB, bare {peaks['bare']:.0f} MiB")
    print(f"ratio {peaks['engine'] / peaks['bare']:.3f} (aim: at most 1.20)")


def compare_seconds() -> None:
    with tempfile.TemporaryDirectory() as folder:
        job = make_job(Path(folder))
        through_engine, bare = worker.Trainer(job), worker.Trainer(job)
        engine = BareEngine(bare.network, bare.section.learning_rate, bare.num_transitions)
        bare.engine, bare.policy = engine, TwoTimeMap(engine)
        seconds: dict[str, list[float]] = {"engine": [], "bare": []}
        for rollout in range(WARM_UP + ROUNDS):
            for name, trainer in (("engine", through_engine), ("bare", bare)):
                began = time.perf_counter()
                trainer._rollout(rollout)
                if rollout >= WARM_UP:
                    seconds[name].append(time.perf_counter() - began)
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        differences = [
            float((one - other).detach().abs().max())
            for one, other in zip(through_engine.network.parameters(), bare.network.parameters(), strict=True)
        ]
    for name, values in seconds.items():
        print(f"{name:<8} median {medians[name]:.3f} s  min {min(values):.3f}  max {max(values):.3f}")
    print(f"ratio {medians['engine'] / medians['bare']:.3f} (aim: at most 1.10)")
    print(f"largest difference of a weight after {WARM_UP + ROUNDS} rollouts: {max(differences):.1e}", file=sys.stderr)


if __name__ == "__main__":
    main()
