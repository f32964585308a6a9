"""diffusers' FLUX transformer with a second time: a flow map that a stock FluxPipeline samples."""

from __future__ import annotations

import math
import threading
from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

# FLUX multiplies times by 1000 before it takes their sines: 1000 radians from 0 to 1, in which the slope
# along the path drowns. With this factor before it there are three.
_TIME_SCALE = 0.003
_SPAN_FREQUENCIES = 32
_SLOWEST, _FASTEST = 0.5, 3.0


# diffusers has no types, so that nothing is known of its class, its decorator or what its forward returns.
class FlowMapTransformer(FluxTransformer2DModel):  # type: ignore[misc]
    """Average velocity u(x, r, t) on packed latents.

    As `FluxTransformer2DModel`, with the embedding of t - r added to that of t (its last layer starts at
    zero, so at first nothing is changed), and a learnt vector for each place: rotary embeddings alone do
    not tell a small model where a token is.

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

    def forward(  # type: ignore[no-untyped-def]
        self, *args: Any, timestep: Tensor, r: Tensor | None = None, **others: Any
    ):
        """u for the packed latents, (batch, tokens, channels); `timestep` and `r` have shape (batch,)."""
        self.time_text_embed.span.value = timestep - (self._next(timestep) if r is None else r)
        return super().forward(*args, timestep=timestep * self.config.time_scale, **others)

    def start_from_nothing(self) -> None:
        """Let every block begin as the identity and the output as zero: for a model trained from scratch."""
        layers = [self.proj_out, *(block.norm.linear for block in self.single_transformer_blocks)]
        for block in self.transformer_blocks:
            layers += [block.norm1.linear, block.norm1_context.linear]
        for layer in layers:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def _next(self, t: Tensor) -> Tensor:
        if self.config.grid is None:
            return t
        grid: Tensor = torch.tensor(self.config.grid, dtype=t.dtype, device=t.device)
        half = (grid[:-1] - grid[1:]).min() / 2
        below = grid < t[:, None] - half
        found: Tensor = torch.where(below, grid, grid.new_zeros(())).amax(1)
        return found


class _OfThread(threading.local):
    """Something that each thread sets for itself; a copy begins empty."""

    value: Any = None

    def __deepcopy__(self, memo: Any) -> _OfThread:
        return _OfThread()

    def __reduce__(self) -> Any:
        return _OfThread, ()


class _TwoTimes(nn.Module):
    """FLUX's embedding of time and text, and on top of it that of the span t - r that was set last."""

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
        found: Tensor = self.stock(timestep, *rest) + self.outlet(F.silu(self.inlet(waves)))
        return found


class _Placed(nn.Module):
    """FLUX's embedding of tokens, and a learnt vector for each place."""

    def __init__(self, stock: nn.Module, num_places: int, width: int) -> None:
        super().__init__()
        self.stock, self.place = stock, nn.Parameter(0.5 * torch.randn(num_places, width))

    def forward(self, tokens: Tensor) -> Tensor:
        embedded: Tensor = self.stock(tokens)
        return embedded + self.place
