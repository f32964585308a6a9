"""A transformer over patches of an image, scaled, shifted and gated by times and prompt."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowmap.maps import Condition
from flowmap.models.modulated_mlp import embed_times, embedding_mlp, frequencies

_HEAD = 32


class DiT(nn.Module):
    """Average velocity u(x, r, t) for images.

    Blocks with adaptive layer norms whose gates start at zero, as the last layer does; times are embedded at
    the low frequencies of `ModulatedMLP`. Attention is written out: the derivative along the path that
    MeanFlow takes does not go through a fused one.

    Source: DiT (arXiv 2212.09748), the block adaLN-Zero.

    Args:
        shape: of one state, (channels, height, width).
        num_prompts: prompts are integers below it.
        width, depth: of a patch's vector, a multiple of 32, and the number of blocks.
        patch: pixels on a patch's side; it divides height and width.
        max_frequency: of the time embedding, in radians.
    """

    frequencies: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        num_prompts: int,
        width: int,
        depth: int,
        patch: int,
        max_frequency: float,
    ) -> None:
        super().__init__()
        channels, height, across = shape
        self.patch, self.grid = patch, (height // patch, across // patch)
        num_values = channels * patch**2
        self.inlet = nn.Linear(num_values, width)
        self.place = nn.Parameter(0.02 * torch.randn(math.prod(self.grid), width))
        self.prompt = nn.Embedding(num_prompts, width)
        self.time = embedding_mlp(width)
        self.span = embedding_mlp(width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 2 * width)
        self.outlet = nn.Linear(width, num_values)
        for layer in (self.modulation, self.outlet):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.register_buffer("frequencies", frequencies(max_frequency))

    def forward(self, x: Tensor, t: Tensor, r: Tensor, condition: Condition) -> Tensor:
        """u between r and t, shape (batch, *shape).

        x has shape (batch, *shape), t and r (batch,), and the condition's leaf `prompt` (batch,), int64.
        """
        times = [embed_times(each, self.frequencies) for each in (t, t - r)]
        signal = F.silu(self.time(times[0]) + self.span(times[1]) + self.prompt(condition["prompt"]))
        hidden = self.inlet(self._patches(x)) + self.place
        for block in self.blocks:
            hidden = block(hidden, signal)
        scale, shift = self.modulation(signal)[:, None].chunk(2, -1)
        out: Tensor = self.outlet(self.norm(hidden) * (1 + scale) + shift)
        return self._image(out, x.shape)

    def _patches(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) to (batch, patches, values of one)."""
        cut: Tensor = x.unflatten(3, (self.grid[1], self.patch)).unflatten(2, (self.grid[0], self.patch))
        return cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)

    def _image(self, patches: Tensor, shape: torch.Size) -> Tensor:
        laid: Tensor = patches.unflatten(2, (shape[1], self.patch, self.patch)).unflatten(1, self.grid)
        return laid.permute(0, 3, 1, 4, 2, 5).reshape(shape)


class Block(nn.Module):
    """Attention among the patches, then a layer for each by itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_heads = width // _HEAD
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 6 * width)
        self.to_heads = nn.Linear(width, 3 * width)
        self.from_heads = nn.Linear(width, width)
        self.alone = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, hidden: Tensor, signal: Tensor) -> Tensor:
        """hidden is (batch, patches, width), signal (batch, width)."""
        scale_a, shift_a, gate_a, scale_b, shift_b, gate_b = self.modulation(signal)[:, None].chunk(6, -1)
        hidden = hidden + gate_a * self._attend(self.norm(hidden) * (1 + scale_a) + shift_a)
        out: Tensor = hidden + gate_b * self.alone(self.norm(hidden) * (1 + scale_b) + shift_b)
        return out

    def _attend(self, x: Tensor) -> Tensor:
        query, key, value = self.to_heads(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        weight = (query @ key.transpose(-1, -2) / math.sqrt(_HEAD)).softmax(-1)
        out: Tensor = self.from_heads((weight @ value).transpose(1, 2).flatten(2))
        return out
