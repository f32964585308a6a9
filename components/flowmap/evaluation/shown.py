"""Which samples are shown to people, and how large."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

_PICTURES = 4  # dimensions

_PROMPTS, _SEEDS = 20, 8
_PROMPTS_LARGE, _SEEDS_LARGE, _LARGE_PX = 10, 4, 64
SIDE_PX = 128  # of what is shown of larger pictures: the page has some hundreds of them


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


def made_small(x: Tensor, most: int) -> Tensor:
    """Pictures (N, colours, rows, columns) of more than so many pixels on a side averaged down to them;
    anything else as it is."""
    if x.ndim != _PICTURES or max(x.shape[2:]) <= most:
        return x
    rows, columns = (max(1, round(side * most / max(x.shape[2:]))) for side in x.shape[2:])
    return adaptive_avg_pool2d(x.clamp(-1, 1), (rows, columns))


def are_large(shape: Sequence[int]) -> bool:
    """Whether data of that shape are pictures of which a page has room for few."""
    return len(shape) == _PICTURES - 1 and max(shape[1:]) > _LARGE_PX


def num_shown(shape: Sequence[int]) -> tuple[int, int]:
    """How many prompts the report shows, and how many samples of each, of data of that shape."""
    return (_PROMPTS_LARGE, _SEEDS_LARGE) if are_large(shape) else (_PROMPTS, _SEEDS)


def shown_indices(prompt: Tensor, shape: Sequence[int]) -> Tensor:
    """The samples that the report shows, of those with these prompts, (N,), rising."""
    num_prompts, num_seeds = num_shown(shape)
    return first_of_each(prompt, num_seeds, some_of(prompt, num_prompts)).sort().values
