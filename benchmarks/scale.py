"""What a run would take on 1 to 512 GPUs and with up to 100 million pictures: pieces measured here, put
together.

    make bench-scale

Measured on this machine, in this run: hashing, the table of data_prep, decoding, the store, shards as
training reads them, manifests. Taken from elsewhere, and told as such: what a GPU computes, what links
carry, how often GPUs fail. The model is examples/flux_lite_512.yaml: eight billion parameters, adapters of
rank 128. Failures and stragglers are simulated, ten runs a row; everything else is arithmetic.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from benchmarks.scale_pieces import Pieces, measured
from flowmap.data.pretrained import weights_bytes
from flowmap.models import FluxFacts
from flowmap.settings import Pretrained, RunConfig, load_config
from flowmap_pipelines.gpu_memory import Beside, base_parts, grpo_parts
from flowmap_pipelines.workload import rollout_passes, update_passes

_GPUS = (1, 8, 64, 512)
_PICTURES = (10_000, 1_000_000, 100_000_000)
_RUNS = 10
_GIB, _HOUR = 2**30, 3600
_EXAMPLE = Path("examples/flux_lite_512.yaml")
_AUTOENCODER = 4 * 83_819_683  # parameters of FLUX.1's
_TEXTS = 2 * (4_762_310_656 + 123_060_480)  # T5 and CLIP
FLUX_LITE = FluxFacts(
    shape=(3, 512, 512),
    prompts=("",),
    latent=(16, 64, 64),
    heads=24,
    head_width=128,
    double_blocks=8,
    single_blocks=38,
    text_width=4096,
    pooled_width=768,
    num_tokens=512,
    places=False,
    guided=True,
    precision="bfloat16",
)


@dataclass(frozen=True)
class Given:
    """What can't be measured here.

    Attributes:
        flops: of one GPU in bfloat16, dense; busy: the share of it that training of such models reaches.
        link: bytes a second that each GPU sends in an all-reduce between nodes.
        failures: of one GPU with all around it, an hour. Llama 3 (arXiv 2407.21783, table 5) counts 419
            interruptions in 54 days of 16,384 GPUs.
        straggling: standard deviation of the logarithm of one GPU's seconds for the same work.
        restart_s: until a pod that failed runs again, before anything is fetched.
        disk: bytes that a node has for an artifact; node: GPUs of one; memory: bytes of one.
        gpu_price: of an hour; store_price: of a GiB a month.
    """

    flops: float = 989e12
    busy: float = 0.4
    link: float = 50e9
    failures: float = 419 / (54 * 24 * 16384)
    straggling: float = 0.03
    restart_s: float = 120.0
    disk: float = 20e12
    node: int = 8
    memory: float = 1e12
    gpu_price: float = 3.0
    store_price: float = 0.023


@dataclass(frozen=True)
class Model:
    """examples/flux_lite_512.yaml, in numbers.

    Attributes:
        parameters, adapters: of the transformer, and those that are trained.
        encoders: FLOP that FLUX.1's autoencoder takes for a picture (counted by torch) and T5 for its text.
        latent, text: bytes of one picture's latent and of its caption, in bfloat16.
        config: the example, for one GPU.
    """

    parameters: float = 8e9
    adapters: float = 0.4e9
    encoders: float = 1.12e12 + 2 * 4.7e9 * 512
    latent: int = 2 * 16 * 64 * 64
    text: int = 2 * (512 * 4096 + 768)
    config: RunConfig = field(default_factory=lambda: load_config(_EXAMPLE))

    @property
    def updates(self) -> int:
        """Of base training, each of `batch` pictures on each GPU."""
        return self.config.base_training.updates or 0

    @property
    def batch(self) -> int:
        return self.config.base_training.batch_size or 0

    @property
    def rollouts(self) -> int:
        """Of GRPO, each of its samples on each GPU."""
        return self.config.grpo_finetuning.rollouts

    @property
    def forward(self) -> float:
        """FLOP of one pass with one picture; text and image have weights of their own in some blocks."""
        return FLUX_LITE.flops


def seconds_of_update(model: Model, given: Given, gpus: int) -> float:
    """One of base training, without stragglers; then the adapters' gradients are added up."""
    passes = model.batch * update_passes(model.config.base_training, told=FLUX_LITE.told_guidance > 0)
    compute = passes * model.forward / (given.flops * given.busy)
    return compute + _all_reduced(4 * model.adapters, given, gpus)


def seconds_of_rollout(model: Model, given: Given, gpus: int) -> float:
    """One of GRPO; after each transition the adapters' gradients are added up."""
    section = model.config.grpo_finetuning
    compute = rollout_passes(section) * model.forward / (given.flops * given.busy)
    return compute + len(section.window or ()) * _all_reduced(4 * model.adapters / 4, given, gpus)


def _all_reduced(size: float, given: Given, gpus: int) -> float:
    return 0.0 if gpus == 1 else 2 * size * (gpus - 1) / gpus / given.link


def simulated(
    work_s: float,
    num: int,
    checkpoint_s: float,
    every: int,
    given: Given,
    gpus: int,
    fetch_s: float,
    seed: int,
) -> tuple[float, int]:
    """Seconds of `num` pieces of work on so many GPUs, and how often one of them failed.

    Every piece takes as long as the slowest GPU. A failure throws away what came after the last checkpoint,
    and costs a restart and what has to be fetched again.
    """
    generator = np.random.default_rng(seed)
    slowest = np.exp(given.straggling * _largest(gpus, num, generator))
    seconds, failed, done, kept = 0.0, 0, 0, 0
    until = generator.exponential(_HOUR / (given.failures * gpus))
    while done < num:
        step = work_s * slowest[done] + (checkpoint_s if (done + 1) % every == 0 else 0.0)
        if step >= until:
            seconds += until + given.restart_s + fetch_s
            failed, done = failed + 1, kept
            until = generator.exponential(_HOUR / (given.failures * gpus))
            continue
        seconds, until, done = seconds + step, until - step, done + 1
        if done % every == 0:
            kept = done
    return seconds, failed


def _largest(gpus: int, num: int, generator: np.random.Generator) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The largest of so many standard normal numbers, `num` times: from one uniform number each."""
    uniform = generator.random(num) ** (1 / gpus)
    inverse = np.vectorize(statistics.NormalDist().inv_cdf)
    return np.asarray(inverse(np.clip(uniform, 1e-12, 1 - 1e-12)))


def training(model: Model, given: Given, pieces: Pieces) -> Iterator[str]:
    """Hours and money of base training and GRPO, a row for each number of GPUs."""
    yield (
        "| GPUs | base training, h | over its bare work | failures | GRPO, h | failures | pictures seen | "
        "checkpoints, GiB | GPU hours | cost |"
    )
    yield "| ---: |" + " ---: |" * 9
    # of the adapters the weights, their average and the optimiser's two moments; nothing that is frozen
    state = 4 * 4 * model.adapters
    checkpoint_s = state / pieces.upload
    fetched = 2 * model.parameters + 10e9  # the checkpoint with its encoders
    for gpus in _GPUS:
        fetch_s = fetched / pieces.download
        told = []
        for work_s, num, every in (
            (seconds_of_update(model, given, gpus), model.updates, 200),
            (seconds_of_rollout(model, given, gpus), model.rollouts, 10),
        ):
            runs = [
                simulated(work_s, num, checkpoint_s, every, given, gpus, fetch_s, seed)
                for seed in range(_RUNS)
            ]
            plain = work_s * num
            told.append(
                (statistics.mean(each[0] for each in runs), plain, statistics.mean(e[1] for e in runs))
            )
        (base_s, base_plain, base_failed), (grpo_s, _, grpo_failed) = told
        kept = state * (model.updates / 200 + model.rollouts / 10) / _GIB
        hours = gpus * (base_s + grpo_s) / _HOUR
        yield (
            f"| {gpus} | {base_s / _HOUR:.1f} | {base_s / base_plain - 1:.0%} | {base_failed:.1f} | "
            f"{grpo_s / _HOUR:.1f} | {grpo_failed:.1f} | {gpus * model.batch * model.updates:,} | "
            f"{kept:,.0f} | {hours:,.0f} | {hours * given.gpu_price:,.0f} |"
        )


def memory() -> Iterator[str]:
    """Of each GPU, about, in GiB: as `flowmap plan` counts it."""
    example = load_config(_EXAMPLE)
    reward = sum(weights_bytes(each) or 0 for each in example.grpo_finetuning.rewards if is_model(each))
    counted = {}
    groups = example.grpo_finetuning.groups
    for processes in _GPUS:
        more = {"processes": processes, "groups": max(groups, groups * processes // 8)}
        config = example.model_copy(
            update={
                "base_training": example.base_training.model_copy(
                    update={"processes": processes, "batch_size": 8 * processes}
                ),
                "grpo_finetuning": example.grpo_finetuning.model_copy(update=more),
            }
        )
        gpus = "1 GPU" if processes == 1 else f"each of {processes}"
        counted[f"base training, {gpus}"] = base_parts(config, FLUX_LITE, Beside(_AUTOENCODER, _TEXTS))
        counted[f"GRPO, {gpus}"] = grpo_parts(config, FLUX_LITE, Beside(_AUTOENCODER, _TEXTS), reward)
    last = "CUDA itself"
    names = dict.fromkeys(name for parts in counted.values() for name in parts if name != last)
    names[last] = None
    yield "| | " + " | ".join((*names, "all")) + " |"
    yield "| --- |" + " ---: |" * (len(names) + 1)
    for what, parts in counted.items():
        cells = [f"{parts[name] / _GIB:.2f}" if name in parts else "" for name in names]
        yield f"| {what} | " + " | ".join((*cells, f"{sum(parts.values()) / _GIB:.1f}")) + " |"


def traffic(model: Model, given: Given, pieces: Pieces) -> Iterator[str]:
    """What nodes fetch from the store and send to it."""
    yield (
        "| GPUs | nodes | fetched when a training begins, GB | the store's, if all are to have it in ten "
        "minutes, GB/s | shards of a million pictures, GB | checkpoints sent, GB an hour |"
    )
    yield "| ---: |" + " ---: |" * 5
    state = 4 * 4 * model.adapters
    for gpus in _GPUS:
        nodes = math.ceil(gpus / given.node)
        fetched = nodes * (2 * model.parameters + 10e9)
        shards = nodes * 1_000_000 * (model.latent + model.text)
        sent = state * _HOUR / (200 * seconds_of_update(model, given, gpus))
        yield (
            f"| {gpus} | {nodes} | {fetched / 1e9:,.0f} | {fetched / 600 / 1e9:,.2f} | "
            f"{shards / 1e9:,.0f} | {sent / 1e9:,.0f} |"
        )


def is_model(reward: object) -> TypeGuard[Pretrained]:
    """Whether a reward is a model that each process holds."""
    return isinstance(reward, Pretrained)


def data(model: Model, given: Given, pieces: Pieces) -> Iterator[str]:
    """What data_prep takes with so many captioned pictures, and what of it breaks."""
    yield (
        "| pictures | looked at, h | encoded by one GPU, h | decoded meanwhile, cores | table, GiB | "
        "shards, TB | manifest, MB | fetched by a node, h | a month in the store |"
    )
    yield "| ---: |" + " ---: |" * 8
    encode_s = model.encoders / (given.flops * given.busy)
    for num in _PICTURES:
        size = num * (model.latent + model.text)
        shards = math.ceil(num / 512)
        yield (
            f"| {num:,} | {num * pieces.looked_s / _HOUR:.1f} | {num * encode_s / _HOUR:,.1f} | "
            f"{pieces.decoded_s / encode_s:.1f} | {num * pieces.row_bytes / _GIB:,.2f} | "
            f"{size / 1e12:,.2f} | {shards * pieces.entry_bytes / 1e6:,.1f} | "
            f"{size / pieces.download / _HOUR:,.1f} | {size / _GIB * given.store_price:,.0f} |"
        )


def breaking(model: Model, given: Given, pieces: Pieces) -> Iterator[str]:
    """From how many pictures on each thing no longer holds, the first one first."""
    each = model.latent + model.text
    encode_s = model.encoders / (given.flops * given.busy)
    found = {
        "a node's disk holds the shards": given.disk / each,
        "one GPU encodes them within a day": 24 * _HOUR / encode_s,
        "a node fetches the shards within a day": 24 * _HOUR * pieces.download / each,
        "one process looks at them within a day": 24 * _HOUR / pieces.looked_s,
        "a node's memory holds the table": given.memory / pieces.row_bytes,
        "without texts in the shards, a node's disk holds them": given.disk / model.latent,
    }
    for what, most in sorted(found.items(), key=lambda item: item[1]):
        yield f"| {what} | {most:,.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--store", help="its URL, such as s3://bucket/prefix?endpoint=...; else a folder here"
    )
    pieces, model, given = measured(parser.parse_args().store), Model(), Given()
    print("Measured here:\n")
    print("\n".join(pieces.told()))
    print("\nTraining (adapters; the batch grows with the GPUs):\n")
    print("\n".join(training(model, given, pieces)))
    print("\nMemory of each GPU, about, in GiB:\n")
    print("\n".join(memory()))
    print("\nThe store:\n")
    print("\n".join(traffic(model, given, pieces)))
    print("\nCaptioned pictures:\n")
    print("\n".join(data(model, given, pieces)))
    print("\n| holds, as things are | up to pictures |\n| --- | ---: |")
    print("\n".join(breaking(model, given, pieces)))


if __name__ == "__main__":
    main()
