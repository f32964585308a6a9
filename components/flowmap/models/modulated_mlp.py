"""A residual MLP whose blocks are scaled, shifted and gated by times and prompt."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowmap.maps import Condition
from flowmap.prompts.vectors import ContextVectors, prompt_vectors

_NUM_FREQUENCIES = 32


class ModulatedMLP(nn.Module):
    """Average velocity u(x, r, t) for small states.

    Times are embedded at low frequencies, .5 to `max_frequency` radians over [0, 1]: with frequencies up to
    100 the derivative with respect to t that MeanFlow takes explodes at isolated pairs of times. Blocks are
    adaptive layer norms with gates (DiT, arXiv 2212.09748), and they and the last layer start at zero.

    Args:
        shape: of one state, such as (1, 8, 8).
        context: the shape of what is known beforehand, where each prompt is an occasion (`ContextVectors`).
        num_prompts: prompts are integers below it.
        width, depth: of the residual stream, and its number of blocks.
        max_frequency: of the time embedding, in radians.
    """

    frequencies: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        num_prompts: int,
        width: int,
        depth: int,
        max_frequency: float,
        context: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        self.shape = tuple(shape)
        num_dims = math.prod(shape)
        self.inlet = nn.Linear(num_dims, width)
        self.prompt = prompt_vectors(num_prompts, width, context)
        self.time = embedding_mlp(width)
        self.span = embedding_mlp(width)
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(depth))
        self.modulations = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(depth))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
            for _ in range(depth)
        )
        self.outlet = nn.Linear(width, num_dims)
        for layer in (self.outlet, *self.modulations):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.register_buffer("frequencies", frequencies(max_frequency))

    def forward(self, x: Tensor, t: Tensor, r: Tensor, condition: Condition) -> Tensor:
        """u between r and t, shape (batch, *shape).

        x has shape (batch, *shape), t and r (batch,), and the condition's leaf `prompt` (batch,), int64; or,
        where prompts are occasions, a leaf `context` (batch, *context).
        """
        told = (
            cast(ContextVectors, self.prompt).of(condition["context"])
            if "context" in condition
            else self.prompt(condition["prompt"])
        )
        times = [embed_times(each, self.frequencies) for each in (t, t - r)]
        signal = F.silu(self.time(times[0]) + self.span(times[1]) + told)
        hidden = self.inlet(x.flatten(1))
        for norm, modulation, block in zip(self.norms, self.modulations, self.blocks, strict=True):
            scale, shift, gate = modulation(signal).chunk(3, -1)
            hidden = hidden + gate * block(norm(hidden) * (1 + scale) + shift)
        out: Tensor = self.outlet(hidden)
        return out.view(x.shape)


def frequencies(highest: float) -> Tensor:
    """Those that times are embedded at, from .5 to the highest, in radians."""
    return torch.linspace(math.log(0.5), math.log(highest), _NUM_FREQUENCIES).exp()


def embed_times(t: Tensor, at: Tensor) -> Tensor:
    """Sines and cosines of times (batch,) at frequencies, (batch, twice as many)."""
    angle = t[:, None] * at
    return torch.cat([angle.sin(), angle.cos()], -1)


def embedding_mlp(width: int) -> nn.Sequential:
    """From embedded times to a network's width."""
    return nn.Sequential(nn.Linear(2 * _NUM_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
