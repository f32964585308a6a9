"""Encoded pictures with their captions, in shards that training reads a few rows of at a time.

    write_shard(directory, 0, latents, condition, text)
    shards = Shards(directory)                       # an artifact of data_prep
    x, condition = shards.draw(64, generator)        # latents of one size, and what their captions say

A caption that several pictures of a shard share is kept once.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from flowmap.data.encoded import encoded_facts, shard_name

_LATENTS, _TEXT, _CONDITION = "latents", "text", "condition."


def write_shard(
    directory: Path, number: int, latents: Tensor, condition: Mapping[str, Tensor], text: Sequence[int]
) -> None:
    """Latents (N, *state), leaves of their captions (M, ...), and which of those each picture has, (N,)."""
    path = directory / shard_name(number)
    path.parent.mkdir(parents=True, exist_ok=True)
    leaves = {f"{_CONDITION}{name}": leaf.contiguous() for name, leaf in condition.items()}
    indices = torch.tensor(list(text), dtype=torch.int32)
    save_file({_LATENTS: latents.contiguous(), _TEXT: indices, **leaves}, path)


class Shards:
    """The shards of an artifact. Nothing of them is in memory but what is drawn."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        facts = encoded_facts(directory)
        assert facts is not None, "there are none"
        self.facts = facts
        self._open: dict[int, tuple[Any, tuple[str, ...]]] = {}  # with the names of captions' leaves
        self._of_size: list[list[int]] = [
            [number for number, shard in enumerate(self.facts.shards) if shard.size == size]
            for size in self.facts.sizes
        ]
        # Where each shard of a size ends, counted over all pictures of that size.
        self._ends = [
            list(itertools.accumulate(self.facts.shards[number].num for number in numbers))
            for numbers in self._of_size
        ]

    def __len__(self) -> int:
        return sum(ends[-1] for ends in self._ends)

    def draw(self, num: int, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """So many pictures of one size, drawn with replacement, a size as often as it has pictures: latents
        (num, *state) in float32, and the leaves of their captions (num, ...)."""
        weights = torch.tensor([ends[-1] for ends in self._ends], dtype=torch.double)
        size = int(torch.multinomial(weights, 1, generator=generator))
        rows = torch.randint(self._ends[size][-1], (num,), generator=generator).tolist()
        found = [self._row(size, row) for row in rows]
        leaves = {name: torch.stack([each[name] for each in found]) for name in found[0]}
        return leaves.pop(_LATENTS).float(), leaves

    def _row(self, size: int, row: int) -> dict[str, Tensor]:
        ends = self._ends[size]
        which = bisect.bisect_right(ends, row)
        at = row - (ends[which - 1] if which else 0)
        file, leaves = self._file(self._of_size[size][which])
        text = int(file.get_slice(_TEXT)[at])
        told = {name.removeprefix(_CONDITION): file.get_slice(name)[text] for name in leaves}
        return {_LATENTS: file.get_slice(_LATENTS)[at], **told}

    def _file(self, number: int) -> tuple[Any, tuple[str, ...]]:
        if number not in self._open:
            file: Any = safe_open(self.directory / shard_name(number), framework="pt")
            names = file.keys()
            self._open[number] = file, tuple(name for name in names if name.startswith(_CONDITION))
        return self._open[number]
