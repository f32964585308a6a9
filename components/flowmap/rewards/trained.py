"""What every reward may take from the artifact of reward_training: the prompts, and real data of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from flowmap.errors import ConfigError
from flowmap.prompts.facts import PromptFacts, some_of
from flowmap.rewards.protocol import Samples

_FACTS, _REFERENCE = "reward.json", "reference.safetensors"

N = TypeVar("N", bound=nn.Module)
F = TypeVar("F", bound=BaseModel)


class TrainedFacts(BaseModel):
    """Of the data that rewards were trained on: the shape of one datum, what prompt indices mean, what the
    prompts demand, where that is known, and the shape of what is known beforehand, where they are
    occasions."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    shape: tuple[int, ...]
    prompts: tuple[str, ...]
    prompt_facts: PromptFacts | None = Field(default=None, exclude_if=lambda known: known is None)
    context: tuple[int, ...] | None = Field(default=None, exclude_if=lambda shape: shape is None)


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


class PromptIndex:
    """Prompts as the indices that trained networks know them by."""

    def __init__(self, prompts: Sequence[str]) -> None:
        self._index = {prompt: index for index, prompt in enumerate(prompts)}

    def of(self, samples: Samples) -> Tensor:
        """The index of each group's prompt, (groups,). Raises ConfigError for a prompt that is not known."""
        if unknown := [prompt for prompt in samples.prompts if prompt not in self._index]:
            raise ConfigError(f"prompt {unknown[0]!r}: the reward knows {some_of(list(self._index))}")
        indices = [self._index[prompt] for prompt in samples.prompts]
        return torch.tensor(indices, device=samples.data.device)


def write_network(directory: Path, name: str, model: nn.Module, facts: BaseModel) -> None:
    """Keep a trained network and what is known of it, as `<name>.safetensors` and `<name>.json`."""
    save_file(model.state_dict(), directory / f"{name}.safetensors")
    (directory / f"{name}.json").write_text(facts.model_dump_json(indent=1))


def read_network(directory: Path, name: str, model: N, facts: type[F]) -> tuple[N, F]:
    """Fill a network, which is then in evaluation mode and without gradients; with its facts."""
    model.load_state_dict(load_file(directory / f"{name}.safetensors"))
    found = facts.model_validate_json((directory / f"{name}.json").read_bytes())
    return model.eval().requires_grad_(False), found
