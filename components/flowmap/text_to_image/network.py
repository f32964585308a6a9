"""The transformer as a network of this package: states in, average velocity out."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor, nn
from torch.nn import functional as F

from flowmap.maps import Condition
from flowmap.models.facts import FluxFacts
from flowmap.text_to_image.transformer import FlowMapTransformer

_GUIDANCE = 3.5  # what those that are told one were made for
TOKENS, POOLED = "tokens", "pooled"  # the leaves of its condition


class FluxNetwork(nn.Module):
    """u(x, r, t) for latents x (batch, channels, height, width).

    Its condition has the leaves `tokens` (batch, tokens, text_width) and `pooled` (batch, pooled_width).
    """

    image_ids: Tensor
    text_ids: Tensor

    def __init__(self, facts: FluxFacts, transformer: Any) -> None:
        super().__init__()
        self.transformer, self.patch = transformer, facts.patch
        self.two_times, self.guided = facts.two_times, facts.guided
        self.rows, self.columns = (side // facts.patch for side in facts.latent[1:])
        ids = torch.zeros(self.rows, self.columns, 3)
        ids[..., 1] = torch.arange(self.rows)[:, None]
        ids[..., 2] = torch.arange(self.columns)[None]
        self.register_buffer("image_ids", ids.flatten(0, 1), persistent=False)
        self.register_buffer("text_ids", torch.zeros(facts.num_tokens, 3), persistent=False)

    def forward(self, x: Tensor, t: Tensor, r: Tensor, condition: Condition) -> Tensor:
        """u between r and t, shape and precision of x; t and r have shape (batch,).

        A network that knows one time gives the velocity at t.
        """
        dtype = self.transformer.proj_out.weight.dtype
        more = {"r": r} if self.two_times else {}
        if self.guided:
            more["guidance"] = torch.full_like(t, _GUIDANCE)
        packed = self.transformer(
            hidden_states=pack(x, self.patch).to(dtype),
            encoder_hidden_states=condition[TOKENS].to(dtype),
            pooled_projections=condition[POOLED].to(dtype),
            timestep=t,
            **more,
            img_ids=self.image_ids,
            txt_ids=self.text_ids,
            return_dict=False,
        )[0]
        return unpack(packed, self.patch, (self.rows, self.columns)).to(x.dtype)


def pack(x: Tensor, patch: int) -> Tensor:
    """Latents (batch, channels, height, width) as tokens, (batch, tokens, channels * patch^2): FLUX's
    order."""
    return F.pixel_unshuffle(x, patch).flatten(2).transpose(1, 2)


def unpack(tokens: Tensor, patch: int, grid: tuple[int, int]) -> Tensor:
    """The inverse of `pack`, for so many rows and columns of tokens."""
    return F.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, grid), patch)


def dtype_of(facts: FluxFacts) -> torch.dtype:
    """Of the transformer's weights."""
    return torch.bfloat16 if facts.precision == "bfloat16" else torch.float32


def fresh_transformer(facts: FluxFacts) -> Any:
    """With weights drawn from torch's global generator: diffusers' own where a model knows one time."""
    channels, height, width = facts.latent
    side = (
        facts.head_width // 4 // 2 * 2
    )  # of the rotary axes: a part for the text's, two for rows and columns
    across = (facts.head_width - side) // 4 * 2
    sizes: dict[str, Any] = {
        "in_channels": channels * facts.patch**2,
        "num_layers": facts.double_blocks,
        "num_single_layers": facts.single_blocks,
        "attention_head_dim": facts.head_width,
        "num_attention_heads": facts.heads,
        "joint_attention_dim": facts.text_width,
        "pooled_projection_dim": facts.pooled_width,
        "guidance_embeds": facts.guided,
        "axes_dims_rope": facts.axes or (facts.head_width - 2 * across, across, across),
    }
    if not facts.two_times:
        return FluxTransformer2DModel(**sizes)
    num_places = height * width // facts.patch**2 if facts.places else 0
    transformer = FlowMapTransformer(num_places=num_places, **sizes)
    transformer.start_from_nothing()
    return transformer
