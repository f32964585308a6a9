"""What a training process holds on its GPU, by a count of parameters, optimizer states, gradients and
activations, each in the precision that it is held in, with a GiB for CUDA itself.

It is an estimate, for nets of this package's kind, and errs on the large side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flowmap.base_training import sizes
from flowmap.models import FluxFacts, ModelFacts, Sd3Facts, TextToImageFacts
from flowmap.settings import RunConfig

_FLOAT_BYTES = 4
_CUDA_BYTES = 1 << 30


@dataclass(frozen=True)
class Beside:
    """Bytes of what is not trained: the autoencoder, and the text encoders, which come to the device to
    encode."""

    autoencoder: int = 0
    texts: int = 0


def _teaches(config: RunConfig, facts: FluxFacts | Sd3Facts) -> bool:
    """Whether a checkpoint that is told its guidance teaches the map that it becomes."""
    checkpoint = config.base_training.checkpoint
    return facts.told_guidance > 0 and checkpoint is not None and checkpoint.convert


def base_parts(
    config: RunConfig, facts: FluxFacts | Sd3Facts, beside: Beside | None = None
) -> dict[str, int]:
    """What each process of base training holds on its GPU, about, in bytes by part, while it trains the map,
    which takes the most.

    Args: beside: what lies beside the network; text encoders stay off the device where data_prep has encoded
        the captions.
    """
    section, size = config.base_training, facts.size()
    section = sizes.with_sizes(section, facts.modality, facts.shape, 0)
    trained = size.parameters if section.lora is None else facts.adapters(section.lora.rank)
    assert section.batch_size is not None
    here = section.batch_size // (section.processes or 1)
    values = {
        "model": size.parameters,
        "teacher": size.parameters if facts.guidance is not None or _teaches(config, facts) else 0,
        "average": trained,
        "optimiser and gradients": 3 * trained,
        "activations": here * _kept(bool(section.gradient_checkpointing), facts),
    }
    beside = beside or Beside()
    if config.data_prep.captioned is not None:
        beside = Beside(beside.autoencoder)
    return _with_others(_in_bytes(values, facts), beside)


def grpo_parts(
    config: RunConfig, facts: ModelFacts, beside: Beside | None = None, rewards: int = 0
) -> dict[str, int]:
    """What each process of GRPO holds on its GPU, about, in bytes by part.

    Args:
        beside: what lies beside the network; rewards: bytes of the models that rewards are.
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
        "activations": min(samples, section.micro_batch or samples)
        * _kept(section.gradient_checkpointing, facts),
        "samples": 3 * samples * size.state * len(section.grid),
    }
    return _with_others(_in_bytes(values, facts), beside or Beside(), rewards)


def _with_others(found: dict[str, int], beside: Beside, rewards: int = 0) -> dict[str, int]:
    """What is trained, with all that lies beside it."""
    if beside.texts > found["activations"]:  # which are not there while texts are encoded
        found["text encoders beyond activations"] = beside.texts - found["activations"]
    more = {name: size for name, size in (("autoencoder", beside.autoencoder), ("rewards", rewards)) if size}
    return {**found, **more, "CUDA itself": _CUDA_BYTES}


def _in_bytes(values: Mapping[str, float], facts: ModelFacts) -> dict[str, int]:
    """Of numbers, those of the network itself in its own precision."""
    found = {name: round(_FLOAT_BYTES * number) for name, number in values.items() if number}
    if isinstance(facts, TextToImageFacts) and facts.precision == "bfloat16":
        halved = ("policy and reference", "model", "teacher", "activations")
        found |= {name: found[name] // 2 for name in halved if name in found}
    return found


def _kept(recomputed: bool, facts: ModelFacts) -> int:
    """Activations of one sample: of all blocks, or what goes into each of them, and one block's."""
    size = facts.size()
    if not (recomputed and isinstance(facts, TextToImageFacts)):
        return size.activations
    return size.activations // facts.num_blocks + facts.num_blocks * facts.between_blocks


def grpo_bytes(config: RunConfig, facts: ModelFacts) -> int:
    """All of that together."""
    return sum(grpo_parts(config, facts).values())
