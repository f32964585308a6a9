"""The transformer as a network of this package: states in, average velocity out."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowmap.maps import Condition
from flowmap.models import TextToImageFacts

TOKENS, POOLED = "tokens", "pooled"  # the leaves of its condition


class TransformerNetwork(nn.Module):
    """u(x, r, t) for latents x (batch, channels, height, width).

    Its condition has the leaves `tokens` (batch, tokens, text_width) and `pooled` (batch, pooled_width).

    Args:
        transformer: of diffusers, whose forward takes `r` where the facts say that it knows two times.
    """

    def __init__(self, facts: TextToImageFacts, transformer: Any) -> None:
        super().__init__()
        self.transformer, self.two_times = transformer, facts.two_times

    def forward(self, x: Tensor, t: Tensor, r: Tensor, condition: Condition) -> Tensor:
        """u between r and t, shape and precision of x; t and r have shape (batch,).

        A network that knows one time gives the velocity at t.
        """
        dtype = dtype_in(self)
        told = {
            "encoder_hidden_states": condition[TOKENS].to(dtype),
            "pooled_projections": condition[POOLED].to(dtype),
            **({"r": r} if self.two_times else {}),
        }
        return self.velocity(x.to(dtype), t, told).to(x.dtype)

    @abstractmethod
    def velocity(self, x: Tensor, t: Tensor, told: dict[str, Tensor]) -> Tensor:
        """What the transformer gives for latents in its own precision, and what it is told as it calls
        that."""


def pack(x: Tensor, patch: int) -> Tensor:
    """Latents (batch, channels, height, width) as tokens, (batch, tokens, channels * patch^2): FLUX's
    order."""
    return F.pixel_unshuffle(x, patch).flatten(2).transpose(1, 2)


def unpack(tokens: Tensor, patch: int, grid: tuple[int, int]) -> Tensor:
    """The inverse of `pack`, for so many rows and columns of tokens."""
    return F.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, grid), patch)


def dtype_in(network: nn.Module) -> torch.dtype:
    """That of a network's weights, whatever adapters on it have."""
    transformer: Any = network.transformer
    found: torch.dtype = transformer.proj_out.weight.dtype
    return found


def dtype_of(facts: TextToImageFacts) -> torch.dtype:
    """Of the transformer's weights."""
    return torch.bfloat16 if facts.precision == "bfloat16" else torch.float32
