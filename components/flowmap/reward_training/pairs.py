"""The pairs a preference model learns from: the user's own, or real data against what corruption makes of
them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flowmap.modality.protocols import Corruption

_JITTER = 0.2


@dataclass(frozen=True)
class Pairs:
    """Pairs of one prompt each, the better first. Without `worse`, the worse is the better one corrupted.

    Attributes:
        better, worse: data, shape (N, *shape).
        prompts: shape (N,).
        corruption: how data are made worse.
    """

    better: Tensor
    worse: Tensor | None
    prompts: Tensor
    corruption: Corruption

    def __len__(self) -> int:
        return len(self.prompts)

    def split(self, apart: Tensor) -> tuple[Pairs, Pairs]:
        """Those that a mask (N,) keeps apart, and the rest."""
        return self._where(apart), self._where(~apart)

    def _where(self, chosen: Tensor) -> Pairs:
        worse = None if self.worse is None else self.worse[chosen]
        return Pairs(self.better[chosen], worse, self.prompts[chosen], self.corruption)

    def draw(self, num: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """A batch (better, worse, prompts) for training, with noise on the data so that they can't be
        memorised."""
        chosen = torch.randint(len(self), (num,), generator=generator)
        better = self.better[chosen]
        better = better + _JITTER * torch.randn(better.shape, generator=generator)
        if self.worse is None:
            return better, self.corruption.corrupt(better, generator), self.prompts[chosen]
        worse = self.worse[chosen]
        return better, worse + _JITTER * torch.randn(worse.shape, generator=generator), self.prompts[chosen]


def other_prompt(prompt: Tensor, num_prompts: int, generator: torch.Generator) -> Tensor:
    """For each prompt another one, each of the others equally likely; shape (batch,)."""
    return (prompt + torch.randint(1, num_prompts, prompt.shape, generator=generator)) % num_prompts
