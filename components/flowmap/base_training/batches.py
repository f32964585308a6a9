"""What a batch of base training is drawn from: a split in memory, or pictures that data_prep has encoded.

batches = batches_of(model, directory)
x, condition = batches.draw(64, generator)       # states (64, *state), leaves (64, ...)
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from flowmap.data.dataset import CAPTION, read_facts, read_split
from flowmap.data.encoded import encoded_facts
from flowmap.data.shards import Shards
from flowmap.maps import Condition
from flowmap.maps.condition import rows
from flowmap.models.model import Model

_ENCODED_AT_ONCE = 256


class Batches(Protocol):
    """Data with what is told of each, given on the model's device."""

    def draw(self, num: int, generator: torch.Generator) -> tuple[Tensor, Condition]:
        """So many of them, with replacement."""


class InMemory:
    """The base split, with its captions."""

    def __init__(self, model: Model, directory: Path) -> None:
        split = read_split(directory, "base", CAPTION)
        self.prompts, self.device = split.prompts, model.device
        self.conditions = model.condition(read_facts(directory).prompts)
        self.states = encoded(model, split.data)

    def draw(self, num: int, generator: torch.Generator) -> tuple[Tensor, Condition]:
        chosen = torch.randint(len(self.prompts), (num,), generator=generator)
        x = self.states[chosen].to(self.device)
        return x, rows(self.conditions, self.prompts[chosen].to(self.device))


class Sharded:
    """Pictures that are latents already, each with a caption of its own; those of a batch have one size."""

    def __init__(self, model: Model, directory: Path) -> None:
        self.shards, self.device = Shards(directory), model.device

    def draw(self, num: int, generator: torch.Generator) -> tuple[Tensor, Condition]:
        x, condition = self.shards.draw(num, generator)
        return x.to(self.device), {name: leaf.to(self.device) for name, leaf in condition.items()}


def batches_of(model: Model, directory: Path) -> Batches:
    """Those of an artifact of data_prep."""
    return InMemory(model, directory) if encoded_facts(directory) is None else Sharded(model, directory)


def some_of(model: Model, directory: Path, num: int) -> tuple[Tensor, Condition]:
    """At most so many, always the same, with what they show."""
    if encoded_facts(directory) is not None:
        return Sharded(model, directory).draw(num, torch.Generator().manual_seed(0))
    split = read_split(directory, "base")
    condition = model.condition(read_facts(directory).prompts)
    x = model.codec.encode(split.data[:num].to(model.device))
    return x, rows(condition, split.prompts[:num].to(model.device))


@torch.no_grad()
def encoded(model: Model, data: Tensor) -> Tensor:
    """The states that all data (N, *shape) are, (N, *state), on the processor: encoded once."""
    parts = [model.codec.encode(part.to(model.device)).cpu() for part in data.split(_ENCODED_AT_ONCE)]
    return torch.cat(parts)
