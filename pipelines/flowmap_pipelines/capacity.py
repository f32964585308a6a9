"""Whether a configuration fits what a profile gives it: processes to GPUs, and memory by a count of what is
kept.

    fit(config, profile, planned, store).problems        # empty when it can work

The count is of parameters, optimizer states, gradients and activations in float32, with a GiB for CUDA
itself. It is an estimate, for nets of this package's kind, and errs on the large side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flowmap.artifacts.store import ObjectStore
from flowmap.artifacts.transfer import artifact_prefix
from flowmap.base_training import sizes
from flowmap.data.facts import FACTS, DataFacts
from flowmap.kubernetes.quantities import amount
from flowmap.models import ModelFacts
from flowmap.settings import RunConfig
from flowmap_pipelines.planning import PlannedStep, price
from flowmap_pipelines.profile import Profile

_FLOAT_BYTES = 4
_CUDA_BYTES = 1 << 30


@dataclass(frozen=True)
class Capacity:
    """What a run would take of a profile: bytes on each of GRPO's GPUs, money, and what can't work."""

    gpu_bytes: int | None
    price: float | None
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {"gpu_bytes": self.gpu_bytes, "price": self.price, "problems": list(self.problems)}

    def to_text(self) -> str:
        memory = (
            "not known before data_prep has run"
            if self.gpu_bytes is None
            else f"{self.gpu_bytes / 2**30:.1f} GiB"
        )
        price = "not known: price_per_hour in the profile says what a step's hour costs"
        lines = [f"GRPO's memory on each GPU, about: {memory}"]
        lines.append(f"price, about: {price if self.price is None else f'{self.price:.2f}'}")
        return "\n".join([*lines, *(f"can't work: {problem}" for problem in self.problems)])


def fit(config: RunConfig, profile: Profile, planned: list[PlannedStep], store: ObjectStore) -> Capacity:
    """Hold a planned run against a profile."""
    data = data_facts(store, planned[0].output)
    gpu_bytes = None if data is None else grpo_bytes(config, data)
    return Capacity(gpu_bytes, price(planned, profile), tuple(problems_of(config, profile, data)))


def data_facts(store: ObjectStore, data: str | None) -> DataFacts | None:
    """What the artifact of data_prep says; None as long as there is none."""
    if data is None:
        return None
    return DataFacts.model_validate_json(store.get(f"{artifact_prefix(data)}/{FACTS}"))


def model_facts(config: RunConfig, data: DataFacts) -> ModelFacts:
    """The model that base training would make of the data."""
    section = sizes.with_sizes(config.base_training, data.modality, data.shape, data.splits["base"])
    return sizes.model_facts(section, data)


def grpo_bytes(config: RunConfig, data: DataFacts) -> int:
    """What each process of GRPO holds on its GPU, about."""
    size, section = model_facts(config, data).size(), config.grpo_finetuning
    optimizer = 2 / (section.processes if section.zero_stage >= 1 else 1)
    gradients = 1 / (section.processes if section.zero_stage >= 2 else 1)
    policy_reference_average = 3
    states = size.parameters * (policy_reference_average + optimizer + gradients)
    samples = section.groups * section.group_size // section.processes
    activations = min(samples, section.micro_batch or samples) * size.activations
    trajectories = 3 * samples * size.state * len(section.grid)
    return _CUDA_BYTES + round(_FLOAT_BYTES * (states + activations + trajectories))


def problems_of(config: RunConfig, profile: Profile, data: DataFacts | None) -> Iterator[str]:
    """Each thing that can't work, with what to change."""
    step, processes = profile.step("grpo_finetuning"), config.grpo_finetuning.processes
    job = step.trainjob
    nodes, gpu = (1, step.gpu) if job is None else (job.nodes, job.gpu)
    if processes % nodes:
        yield (
            f"grpo_finetuning.processes is {processes}, which the profile's {nodes} nodes can't share evenly"
        )
    if gpu is None:
        return
    if processes > nodes * gpu.count:
        yield (
            f"grpo_finetuning.processes is {processes}, but the profile gives it {nodes * gpu.count} x "
            f"{gpu.type}: lower it, or raise gpu.count or trainjob.nodes"
        )
    if (
        gpu.memory is not None
        and data is not None
        and (needed := grpo_bytes(config, data)) > amount(gpu.memory)
    ):
        yield (
            f"grpo_finetuning needs about {needed / 2**30:.1f} GiB on each GPU, which has {gpu.memory}: "
            "lower grpo_finetuning.groups or group_size, set micro_batch, or share them among more "
            "processes"
        )
