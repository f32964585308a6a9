"""Which samples are shown to people."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

MOST_PROMPTS, NUM_SEEDS = 20, 8


def some_of(prompt: Tensor, most: int) -> list[int]:
    """Prompts among those (N,), spread over their order where there are more than so many."""
    there = prompt.unique()
    if len(there) > most:
        there = there[torch.linspace(0, len(there) - 1, most).long()]
    return [int(each) for each in there]


def first_of_each(prompt: Tensor, num_each: int, prompts: Sequence[int]) -> Tensor:
    """Indices of the first few of each of those prompts, prompt after prompt."""
    chosen = [(prompt == value).nonzero()[:num_each, 0] for value in prompts]
    return torch.cat(chosen) if chosen else torch.empty(0, dtype=torch.long)


def shown_indices(prompt: Tensor) -> Tensor:
    """The samples that the report shows, of those with these prompts, (N,), rising."""
    return first_of_each(prompt, NUM_SEEDS, some_of(prompt, MOST_PROMPTS)).sort().values
