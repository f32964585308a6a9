"""FLUX: a transformer on packed latents with rotary places, told by T5's tokens and CLIP's pooled vector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from torch import Tensor

from flowmap.models import FluxFacts
from flowmap.text_to_image.family import BLOCK_LAYERS, Config, Family
from flowmap.text_to_image.network import TransformerNetwork, pack, unpack
from flowmap.text_to_image.text import FluxText
from flowmap.text_to_image.transformer import FlowMapTransformer


class FluxNetwork(TransformerNetwork):
    """FLUX's transformer on latents as they come from the autoencoder."""

    image_ids: Tensor
    text_ids: Tensor

    def __init__(self, facts: FluxFacts, transformer: Any) -> None:
        super().__init__(facts, transformer)
        self.patch, self.guidance = facts.patch, facts.told_guidance
        self.grid = self._grid(facts.latent)
        self.register_buffer("image_ids", _places(*self.grid), persistent=False)
        self.register_buffer("text_ids", torch.zeros(facts.num_tokens, 3), persistent=False)

    def velocity(self, x: Tensor, t: Tensor, told: dict[str, Tensor]) -> Tensor:
        grid = self._grid(x.shape[1:])
        packed = self.transformer(
            hidden_states=pack(x, self.patch),
            timestep=t,
            **told,
            **({"guidance": torch.full_like(t, self.guidance)} if self.guidance else {}),
            img_ids=self.image_ids if grid == self.grid else _places(*grid).to(x.device),
            txt_ids=self.text_ids,
            return_dict=False,
        )[0]
        return unpack(packed, self.patch, grid)

    def _grid(self, latent: Sequence[int]) -> tuple[int, int]:
        """Rows and columns of tokens."""
        rows, columns = (side // self.patch for side in latent[1:])
        return rows, columns


def _places(rows: int, columns: int) -> Tensor:
    """Row and column of each token, as rotary embeddings take them, (tokens, 3)."""
    ids = torch.zeros(rows, columns, 3)
    ids[..., 1] = torch.arange(rows)[:, None]
    ids[..., 2] = torch.arange(columns)[None]
    return ids.flatten(0, 1)


def _sizes(facts: FluxFacts) -> dict[str, Any]:
    channels, height, width = facts.latent
    # of the rotary axes: a part for the text's, two for rows and columns
    side = facts.head_width // 4 // 2 * 2
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
    places = {"num_places": height * width // facts.patch**2 if facts.places else 0}
    return sizes | (places if facts.two_times else {})


def _told_by(transformer: Config, folder: Path) -> dict[str, Any]:
    return {
        "double_blocks": transformer["num_layers"],
        "single_blocks": transformer["num_single_layers"],
        "axes": tuple(transformer["axes_dims_rope"]),
        "guided": transformer["guidance_embeds"],
        "places": bool(transformer.get("num_places")),
    }


FLUX = Family(
    pipeline=FluxPipeline,
    stock=FluxTransformer2DModel,
    two_times=FlowMapTransformer,
    text=FluxText,
    network=FluxNetwork,
    facts=FluxFacts,
    sizes=_sizes,
    told_by=_told_by,
    pooled_width=lambda encoders: int(encoders[0]["hidden_size"]),
    patch=lambda transformer: 2,  # in every FLUX, whose own patch_size says 1
    # FLUX.1-schnell, which is told no guidance, was trained with 256; its siblings with 512.
    most_tokens=lambda transformer: 256 if transformer and not transformer["guidance_embeds"] else 512,
    packed=True,
    adapted=(*BLOCK_LAYERS, "proj_mlp", "proj_out"),
)
