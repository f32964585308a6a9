"""Whether a configuration fits what a profile gives it: processes to GPUs, and memory by a count of what is kept.

    fit(config, profile, planned, store).problems        # empty when it can work

The count is of parameters, optimizer states, gradients and activations in float32, with a GiB for CUDA itself. It is an
estimate, for nets of this package's kind, and errs on the large side.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flowmap.artifacts.store import ObjectStore
from flowmap.artifacts.transfer import artifact_prefix
from flowmap.config import BaseTraining, RunConfig
from flowmap_pipelines.planning import PlannedStep, price
from flowmap_pipelines.profile import Profile, amount

_FLOAT_BYTES = 4
_CUDA_BYTES = 1 << 30
_FREQUENCIES = 64
# Values of one block that its backward pass needs, in widths: its input, norm, modulation, hidden layer twice, output.
_KEPT_WIDTHS = 12


@dataclass(frozen=True)
class Size:
    """What the data say about the networks: the shape of an image, how many prompts, how many images to train on."""

    shape: tuple[int, ...]
    num_prompts: int
    num_images: int


@dataclass(frozen=True)
class Fitting:
    """What a run would take of a profile: bytes on each of GRPO's GPUs, money, and what can't work."""

    gpu_bytes: int | None
    price: float | None
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {"gpu_bytes": self.gpu_bytes, "price": self.price, "problems": list(self.problems)}

    def to_text(self) -> str:
        memory = "not known before data_prep has run" if self.gpu_bytes is None else f"{self.gpu_bytes / 2**30:.1f} GiB"
        price = "not known: price_per_hour in the profile says what a step's hour costs"
        lines = [f"GRPO's memory on each GPU, about: {memory}"]
        lines.append(f"price, about: {price if self.price is None else f'{self.price:.2f}'}")
        return "\n".join([*lines, *(f"can't work: {problem}" for problem in self.problems)])


def fit(config: RunConfig, profile: Profile, planned: list[PlannedStep], store: ObjectStore) -> Fitting:
    """Hold a planned run against a profile."""
    size = size_of(store, planned[0].output)
    gpu_bytes = None if size is None else grpo_bytes(config, size)
    return Fitting(gpu_bytes, price(planned, profile), tuple(problems_of(config, profile, size)))


def size_of(store: ObjectStore, data: str | None) -> Size | None:
    """From the artifact of data_prep; None as long as there is none."""
    if data is None:
        return None
    facts = json.loads(store.get(f"{artifact_prefix(data)}/data.json"))
    return Size(tuple(facts["shape"]), len(facts["prompts"]), facts["splits"]["base"])


def num_parameters(section: BaseTraining, size: Size) -> int:
    """Of the network that base training makes."""
    width, dims = section.width or 0, math.prod(size.shape)

    def linear(inputs: int, outputs: int) -> int:
        return inputs * outputs + outputs

    embedding = linear(_FREQUENCIES, width) + linear(width, width)
    block = linear(width, 3 * width) + linear(width, 2 * width) + linear(2 * width, width)
    around = linear(dims, width) + linear(width, dims) + size.num_prompts * width
    return around + 2 * embedding + section.depth * block


def grpo_bytes(config: RunConfig, size: Size) -> int:
    """What each process of GRPO holds on its GPU, about."""
    from flowmap.base_training.sizes import with_sizes

    base, section = with_sizes(config.base_training, size.shape, size.num_images), config.grpo_finetuning
    parameters, processes = num_parameters(base, size), section.processes
    optimizer = 2 / (processes if section.zero_stage >= 1 else 1)
    gradients = 1 / (processes if section.zero_stage >= 2 else 1)
    policy_reference_average = 3
    states = parameters * (policy_reference_average + optimizer + gradients)
    samples = section.groups * section.group_size // processes
    activations = samples * base.depth * (base.width or 0) * _KEPT_WIDTHS
    trajectories = 3 * samples * math.prod(size.shape) * len(section.grid)
    return _CUDA_BYTES + round(_FLOAT_BYTES * (states + activations + trajectories))


def problems_of(config: RunConfig, profile: Profile, size: Size | None) -> Iterator[str]:
    """Each thing that can't work, with what to change."""
    step, processes = profile.step("grpo_finetuning"), config.grpo_finetuning.processes
    job = step.trainjob
    nodes, gpu = (1, step.gpu) if job is None else (job.nodes, job.gpu)
    if processes % nodes:
        yield f"grpo_finetuning.processes is {processes}, which the profile's {nodes} nodes can't share evenly"
    if gpu is None:
        return
    if processes > nodes * gpu.count:
        yield (
            f"grpo_finetuning.processes is {processes}, but the profile gives it {nodes * gpu.count} x {gpu.type}: "
            "lower it, or raise gpu.count or trainjob.nodes"
        )
    if gpu.memory is not None and size is not None and (needed := grpo_bytes(config, size)) > amount(gpu.memory):
        yield (
            f"grpo_finetuning needs about {needed / 2**30:.1f} GiB on each GPU, which has {gpu.memory}: lower "
            "grpo_finetuning.groups or group_size, or share them among more processes"
        )
