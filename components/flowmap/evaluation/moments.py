"""What a spread within prompts, and its bootstrap, need of samples: sums, in folds, of each prompt."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flowmap.evaluation.distances import Array

NUM_FOLDS = 20


@dataclass(frozen=True)
class Moments:
    """Of the samples of each prompt, in folds: all that a spread within prompts, and its bootstrap, need.

    Attributes:
        num: samples, (folds, prompts).
        squares: the sum of their squared norms, (folds, prompts).
        total: the sum of the samples themselves, (folds, prompts, dims).
    """

    num: Array
    squares: Array
    total: Array

    def spread(self, weight: Array | None = None) -> float:
        """Root mean square of a dimension's deviation within a prompt, pooled over the prompts with at least
        two samples; 0 where no prompt has two.

        Args:
            weight: how often each fold counts, (folds,); None is once.
        """
        weight = np.ones(len(self.num)) if weight is None else weight
        num = weight @ self.num
        counts = num > 1
        if not counts.any():
            return 0.0
        among = np.einsum("f,pfg,g->p", weight, self._products, weight)[counts] / num[counts]
        within = (weight @ self.squares)[counts] - among
        pooled = within.clip(0).sum() / (num[counts] - 1).sum() / self.total.shape[-1]
        return float(np.sqrt(pooled))

    @functools.cached_property
    def _products(self) -> Array:
        """Of the folds' sums with each other, (prompts, folds, folds)."""
        by_prompt = self.total.swapaxes(0, 1)
        products: Array = by_prompt @ by_prompt.swapaxes(1, 2)
        return products


class MomentsSoFar:
    """Moments as samples come, of those prompts that there are samples of."""

    def __init__(self) -> None:
        self._of: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def add(self, x: Tensor, prompt: Tensor, fold: Tensor) -> None:
        """Samples (batch, dims), the prompt of each, (batch,), and its fold."""
        for each in prompt.unique().tolist():
            mine = prompt == each
            if each not in self._of:
                num, squares = torch.zeros(2, NUM_FOLDS, dtype=torch.double)
                self._of[each] = num, squares, num.new_zeros(NUM_FOLDS, x.shape[1])
            num, squares, total = self._of[each]
            num.index_add_(0, fold[mine], num.new_ones(int(mine.sum())))
            squares.index_add_(0, fold[mine], x[mine].square().sum(1))
            total.index_add_(0, fold[mine], x[mine])

    def moments(self) -> Moments:
        """In the order of the prompts."""
        if not self._of:
            none = np.zeros((NUM_FOLDS, 0))
            return Moments(none, none, none[..., None])
        parts = zip(*(self._of[each] for each in sorted(self._of)), strict=True)
        return Moments(*(torch.stack(each, 1).numpy() for each in parts))
