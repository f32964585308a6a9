"""Whether a configuration fits what a profile gives it: processes to GPUs, and memory by a count of what is
kept.

    fit(config, profile, planned, store).problems        # empty when it can work

The count is of parameters, optimizer states, gradients and activations in float32, with a GiB for CUDA
itself. It is an estimate, for nets of this package's kind, and errs on the large side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from flowmap.artifacts.manifest import MANIFEST_NAME, parse_manifest
from flowmap.artifacts.store import ObjectStore, read_there
from flowmap.artifacts.transfer import artifact_prefix
from flowmap.base_training import sizes
from flowmap.data.facts import FACTS, DataFacts
from flowmap.kubernetes.quantities import amount
from flowmap.models import AUTOENCODER, ModelFacts, TextToImageFacts
from flowmap.settings import GrpoFinetuning, RunConfig
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
    gpu_parts: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        parts = dict(self.gpu_parts)
        return {
            "gpu_bytes": self.gpu_bytes,
            "gpu_parts": parts,
            "price": self.price,
            "problems": list(self.problems),
        }

    def to_text(self) -> str:
        memory = (
            "not known before data_prep has run, or base_training where it takes a checkpoint over"
            if self.gpu_bytes is None
            else f"{self.gpu_bytes / 2**30:.1f} GiB"
        )
        price = "not known: price_per_hour in the profile says what a step's hour costs"
        lines = [f"GRPO's memory on each GPU, about: {memory}"]
        if self.gpu_parts:
            told = (f"{name} {amount / 2**30:.2f}" for name, amount in self.gpu_parts.items())
            lines.append(f"  of which {', '.join(told)}")
        lines.append(f"price, about: {price if self.price is None else f'{self.price:.2f}'}")
        return "\n".join([*lines, *(f"can't work: {problem}" for problem in self.problems)])


def fit(config: RunConfig, profile: Profile, planned: list[PlannedStep], store: ObjectStore) -> Capacity:
    """Hold a planned run against a profile."""
    data = data_facts(store, planned[0].output)
    base = next((step.output for step in planned if step.name == "base_training"), None)
    facts = None if data is None else model_facts(config, data)
    beside = 0
    if base is not None:
        facts, beside = _made(store, base)
    parts = {} if facts is None else grpo_parts(config, facts, beside)
    needed = sum(parts.values()) or None
    return Capacity(needed, price(planned, profile), tuple(problems_of(config, profile, needed)), parts)


def data_facts(store: ObjectStore, data: str | None) -> DataFacts | None:
    """What the artifact of data_prep says; None as long as there is none."""
    if data is None:
        return None
    return DataFacts.model_validate_json(read_there(store, f"{artifact_prefix(data)}/{FACTS}"))


def model_facts(config: RunConfig, data: DataFacts) -> ModelFacts | None:
    """The model that base training would make of the data; None where it takes one over."""
    if config.base_training.checkpoint is not None:
        return None
    section = sizes.with_sizes(config.base_training, data.modality, data.shape, data.splits["base"])
    return sizes.model_facts(section, data)


def _made(store: ObjectStore, base: str) -> tuple[ModelFacts, int]:
    """The model of a base that is there, and the bytes of its autoencoder; text encoders lie in the
    machine's own memory."""
    prefix = artifact_prefix(base)
    facts: TypeAdapter[ModelFacts] = TypeAdapter(ModelFacts)
    manifest = parse_manifest(read_there(store, f"{prefix}/{MANIFEST_NAME}"), where=prefix)
    size = sum(entry.size for entry in manifest.files if entry.path.partition("/")[0] == AUTOENCODER)
    return facts.validate_json(read_there(store, f"{prefix}/model.json")), size


def grpo_parts(config: RunConfig, facts: ModelFacts, beside: int = 0) -> dict[str, int]:
    """What each process of GRPO holds on its GPU, about, in bytes by part.

    Args:
        beside: bytes of the autoencoder.
    """
    section, size = config.grpo_finetuning, facts.size()
    trained, reference = size.parameters, size.parameters
    if section.lora is not None and isinstance(facts, TextToImageFacts):
        trained, reference = facts.adapters(section.lora.rank), 0  # the reference is the policy without them
    optimizer = 2 / (section.processes if section.zero_stage >= 1 else 1)
    gradients = 1 / (section.processes if section.zero_stage >= 2 else 1)
    samples = section.groups * section.group_size // section.processes
    values = {
        "policy and reference": size.parameters + reference,
        "average": trained,
        "optimiser and gradients": trained * (optimizer + gradients),
        "activations": min(samples, section.micro_batch or samples) * _kept(section, facts),
        "samples": 3 * samples * size.state * len(section.grid),
    }
    found = {name: round(_FLOAT_BYTES * number) for name, number in values.items()}
    if isinstance(facts, TextToImageFacts) and facts.precision == "bfloat16":
        found |= {name: found[name] // 2 for name in ("policy and reference", "activations")}
    return {**found, **({"autoencoder": beside} if beside else {}), "CUDA itself": _CUDA_BYTES}


def _kept(section: GrpoFinetuning, facts: ModelFacts) -> int:
    """Activations of one sample: of all blocks, or what goes into each of them, and one block's."""
    size = facts.size()
    if not (section.gradient_checkpointing and isinstance(facts, TextToImageFacts)):
        return size.activations
    return size.activations // facts.num_blocks + facts.num_blocks * facts.between_blocks


def grpo_bytes(config: RunConfig, facts: ModelFacts) -> int:
    """All of that together."""
    return sum(grpo_parts(config, facts).values())


def problems_of(config: RunConfig, profile: Profile, needed: int | None) -> Iterator[str]:
    """Each thing that can't work, with what to change; `needed`: GRPO's bytes on each GPU, if known."""
    base, beside = profile.step("base_training"), config.base_training.processes
    if base.gpu is not None and beside is not None and beside > base.gpu.count:
        yield (
            f"base_training.processes is {beside}, but the profile gives it {base.gpu.count} x "
            f"{base.gpu.type}: lower it, or raise gpu.count"
        )
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
    if gpu.memory is not None and needed is not None and needed > amount(gpu.memory):
        yield (
            f"grpo_finetuning needs about {needed / 2**30:.1f} GiB on each GPU, which has {gpu.memory}: "
            "lower grpo_finetuning.groups or group_size, set micro_batch, or share them among more "
            "processes"
        )
