"""What every reward may take from the artifact of reward_training: the prompts, and real data of each."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict
from safetensors.torch import load_file, save_file
from torch import Tensor

_FACTS, _REFERENCE = "reward.json", "reference.safetensors"


class TrainedFacts(BaseModel):
    """Of the data that rewards were trained on: the shape of one datum, and what prompt indices mean."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    shape: tuple[int, ...]
    prompts: tuple[str, ...]


def write_reference(directory: Path, facts: TrainedFacts, data: Tensor, prompts: Tensor) -> None:
    """Keep real data (N, *shape) and their prompts' indices (N,)."""
    (directory / _FACTS).write_text(facts.model_dump_json(indent=1))
    save_file({"data": data, "prompts": prompts}, directory / _REFERENCE)


def read_trained_facts(directory: Path) -> TrainedFacts:
    return TrainedFacts.model_validate_json((directory / _FACTS).read_bytes())


def read_reference(directory: Path) -> dict[str, Tensor]:
    """The real data of each prompt, (any number, *shape)."""
    kept = load_file(directory / _REFERENCE)
    prompts = read_trained_facts(directory).prompts
    return {prompt: kept["data"][kept["prompts"] == index] for index, prompt in enumerate(prompts)}
