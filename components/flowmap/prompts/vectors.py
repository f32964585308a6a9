"""A vector for each prompt: of a table that is learnt, or made from what is known beforehand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def prompt_vectors(num_prompts: int, width: int, context: Sequence[int] | None = None) -> nn.Module:
    """Fresh; from prompts' indices (batch,) to vectors (batch, width).

    Args:
        context: the shape of what is known beforehand, where each prompt is an occasion.
    """
    if context is None:
        return nn.Embedding(num_prompts, width)
    return ContextVectors(num_prompts, width, context)


class ContextVectors(nn.Module):
    """Made by a small network from the context of each occasion: one that nobody was trained on has one too.

    Args:
        context: its shape. `contexts` holds that of every prompt and is saved with the weights; it is zero
            until somebody fills it.
    """

    contexts: Tensor

    def __init__(self, num_prompts: int, width: int, context: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("contexts", torch.zeros(num_prompts, *context))
        self.made = nn.Sequential(nn.Linear(math.prod(context), width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, prompt: Tensor) -> Tensor:
        return self.of(self.contexts[prompt])

    def of(self, contexts: Tensor) -> Tensor:
        """From contexts themselves, (batch, *context), such as one of today."""
        vectors: Tensor = self.made(contexts.flatten(1))
        return vectors


@torch.no_grad()
def fill_contexts(network: nn.Module, contexts: Tensor | None) -> None:
    """Tell a network what is known at each prompt, (prompts, *context); None is nothing."""
    for each in network.modules():
        if isinstance(each, ContextVectors):
            assert contexts is not None, "these vectors are made from contexts"
            each.contexts.copy_(contexts)
