"""Transformers of diffusers with a second time: flow maps that its stock pipelines sample.

One file and nothing of flowmap's in it, for it lies beside the weights of what is exported.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

# Both take the sines of times between 0 and 1000: 1000 radians along the path, in which its slope drowns.
# With this factor before it there are three.
_TIME_SCALE = 0.003
STEPS = 1000.0
_SPAN_FREQUENCIES = 32
_SLOWEST, _FASTEST = 0.5, 3.0


# diffusers has no types, so that nothing is known of its class, its decorator or what its forward returns.
class FlowMapTransformer(FluxTransformer2DModel):  # type: ignore[misc]
    """Average velocity u(x, r, t) on packed latents.

    As `FluxTransformer2DModel`, with the embedding of t - r added to that of t (its last layer starts at
    zero, so at first nothing is changed), and a learnt vector for each place: rotary embeddings alone do
    not tell a small model where a token is. Without other weights every block begins as the identity.

    Args:
        num_places: tokens of an image; 0 for none of those vectors.
        time_scale: what times are multiplied by before FLUX's own 1000.
        grid: times from 1 to 0. Where `forward` is told no `r`, as by a stock pipeline, it is the next
            one below `timestep`; without a grid it is `timestep` itself, and u the velocity.

    Source: FLUX.1; MeanFlow (arXiv 2505.13447) for the second time.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        patch_size: int = 1,
        in_channels: int = 64,
        out_channels: int | None = None,
        num_layers: int = 19,
        num_single_layers: int = 38,
        attention_head_dim: int = 128,
        num_attention_heads: int = 24,
        joint_attention_dim: int = 4096,
        pooled_projection_dim: int = 768,
        guidance_embeds: bool = False,
        axes_dims_rope: tuple[int, int, int] = (16, 56, 56),
        num_places: int = 0,
        time_scale: float = _TIME_SCALE,
        grid: tuple[float, ...] | None = None,
    ) -> None:
        super().__init__(
            patch_size=patch_size,
            in_channels=in_channels,
            out_channels=out_channels,
            num_layers=num_layers,
            num_single_layers=num_single_layers,
            attention_head_dim=attention_head_dim,
            num_attention_heads=num_attention_heads,
            joint_attention_dim=joint_attention_dim,
            pooled_projection_dim=pooled_projection_dim,
            guidance_embeds=guidance_embeds,
            axes_dims_rope=tuple(axes_dims_rope),
        )
        width = num_attention_heads * attention_head_dim
        stock: Any = self
        self.time_text_embed = _TwoTimes(stock.time_text_embed, width)
        if num_places:
            self.x_embedder = _Placed(stock.x_embedder, num_places, width)
        self._start_from_nothing()

    def forward(  # type: ignore[no-untyped-def]
        self, *args: Any, timestep: Tensor, r: Tensor | None = None, **others: Any
    ):
        """u for the packed latents, (batch, tokens, channels); `timestep` and `r` have shape (batch,)."""
        after = _next(self.config.grid, timestep) if r is None else r
        self.time_text_embed.span.value = timestep - after
        return super().forward(*args, timestep=timestep * self.config.time_scale, **others)

    def _start_from_nothing(self) -> None:
        layers = [self.proj_out, *(block.norm.linear for block in self.single_transformer_blocks)]
        for block in self.transformer_blocks:
            layers += [block.norm1.linear, block.norm1_context.linear]
        for layer in layers:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)


# Nor of this one's.
class FlowMapSD3Transformer(SD3Transformer2DModel):  # type: ignore[misc]
    """Average velocity u(x, r, t) on latents, (batch, channels, height, width).

    As `SD3Transformer2DModel`, with the embedding of t - r added to that of t (its last layer starts at
    zero, so at first nothing is changed).

    Args:
        time_scale: what times are multiplied by beside SD3's own 1000.
        grid: times from 1 to 0. Where `forward` is told no `r`, as by a stock pipeline, it is the next
            one below `timestep`; without a grid it is `timestep` itself, and u the velocity.

    Source: Stable Diffusion 3 (arXiv 2403.03206); MeanFlow (arXiv 2505.13447) for the second time.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        sample_size: int = 128,
        patch_size: int = 2,
        in_channels: int = 16,
        num_layers: int = 18,
        attention_head_dim: int = 64,
        num_attention_heads: int = 18,
        joint_attention_dim: int = 4096,
        caption_projection_dim: int = 1152,
        pooled_projection_dim: int = 2048,
        out_channels: int = 16,
        pos_embed_max_size: int = 96,
        dual_attention_layers: tuple[int, ...] = (),
        qk_norm: str | None = None,
        time_scale: float = _TIME_SCALE,
        grid: tuple[float, ...] | None = None,
    ) -> None:
        super().__init__(
            sample_size=sample_size,
            patch_size=patch_size,
            in_channels=in_channels,
            num_layers=num_layers,
            attention_head_dim=attention_head_dim,
            num_attention_heads=num_attention_heads,
            joint_attention_dim=joint_attention_dim,
            caption_projection_dim=caption_projection_dim,
            pooled_projection_dim=pooled_projection_dim,
            out_channels=out_channels,
            pos_embed_max_size=pos_embed_max_size,
            dual_attention_layers=tuple(dual_attention_layers),
            qk_norm=qk_norm,
        )
        stock: Any = self
        width = num_attention_heads * attention_head_dim
        self.time_text_embed = _TwoTimes(stock.time_text_embed, width)

    def forward(  # type: ignore[no-untyped-def]
        self, *args: Any, timestep: Tensor, r: Tensor | None = None, **others: Any
    ):
        """u for the latents; `timestep` is from 0 to 1000, as SD3 has it, `r` from 0 to 1: (batch,)."""
        t = timestep / STEPS
        self.time_text_embed.span.value = t - (_next(self.config.grid, t) if r is None else r)
        return super().forward(*args, timestep=timestep * self.config.time_scale, **others)


def _next(grid: Sequence[float] | None, t: Tensor) -> Tensor:
    """The time of the grid below each of t, (batch,); t itself without one."""
    if grid is None:
        return t
    times: Tensor = torch.tensor(grid, dtype=t.dtype, device=t.device)
    half = (times[:-1] - times[1:]).min() / 2
    below = times < t[:, None] - half
    found: Tensor = torch.where(below, times, times.new_zeros(())).amax(1)
    return found


class _OfThread(threading.local):
    """Something that each thread sets for itself; a copy begins empty."""

    value: Any = None

    def __deepcopy__(self, memo: Any) -> _OfThread:
        return _OfThread()

    def __reduce__(self) -> Any:
        return _OfThread, ()


class _TwoTimes(nn.Module):
    """The stock embedding of time and text, and on top of it that of the span t - r that was set last."""

    frequencies: Tensor

    def __init__(self, stock: nn.Module, width: int) -> None:
        super().__init__()
        self.stock = stock
        steps = torch.linspace(math.log(_SLOWEST), math.log(_FASTEST), _SPAN_FREQUENCIES)
        self.register_buffer("frequencies", steps.exp(), persistent=False)
        self.inlet, self.outlet = nn.Linear(2 * _SPAN_FREQUENCIES, width), nn.Linear(width, width)
        nn.init.zeros_(self.outlet.weight)
        nn.init.zeros_(self.outlet.bias)
        self.span = _OfThread()

    def forward(self, timestep: Tensor, *rest: Tensor) -> Tensor:
        span: Tensor = self.span.value
        angle = span[:, None] * self.frequencies.to(span.dtype)
        waves = torch.cat([angle.sin(), angle.cos()], -1).to(self.inlet.weight.dtype)
        stock: Tensor = self.stock(timestep, *rest)
        of_span: Tensor = self.outlet(F.silu(self.inlet(waves)))
        return stock + of_span.to(stock.dtype)


class _Placed(nn.Module):
    """FLUX's embedding of tokens, and a learnt vector for each place."""

    def __init__(self, stock: nn.Module, num_places: int, width: int) -> None:
        super().__init__()
        self.stock, self.place = stock, nn.Parameter(0.5 * torch.randn(num_places, width))

    def forward(self, tokens: Tensor) -> Tensor:
        embedded: Tensor = self.stock(tokens)
        return embedded + self.place
