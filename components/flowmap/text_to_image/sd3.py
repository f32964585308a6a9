"""Stable Diffusion 3: a transformer on latents, told by T5 and two CLIP encoders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline
from torch import Tensor
from transformers import AutoTokenizer

from flowmap.models import Sd3Facts
from flowmap.text_to_image.family import BLOCK_LAYERS, Config, Family
from flowmap.text_to_image.network import TransformerNetwork
from flowmap.text_to_image.text import Sd3Text, clip_tokens
from flowmap.text_to_image.transformer import STEPS, FlowMapSD3Transformer


class Sd3Network(TransformerNetwork):
    """SD3's transformer, which takes latents as they are."""

    def velocity(self, x: Tensor, t: Tensor, told: dict[str, Tensor]) -> Tensor:
        found: Tensor = self.transformer(hidden_states=x, timestep=STEPS * t, **told, return_dict=False)[0]
        return found


def _sizes(facts: Sd3Facts) -> dict[str, Any]:
    return {
        "sample_size": max(facts.latent[1:]),
        "patch_size": facts.patch,
        "in_channels": facts.latent[0],
        "out_channels": facts.latent[0],
        "num_layers": facts.blocks,
        "attention_head_dim": facts.head_width,
        "num_attention_heads": facts.heads,
        "joint_attention_dim": facts.text_width,
        "caption_projection_dim": facts.width,
        "pooled_projection_dim": facts.pooled_width,
        "pos_embed_max_size": facts.places_side,
        "dual_attention_layers": facts.dual,
        "qk_norm": "rms_norm" if facts.normed else None,
    }


def _told_by(transformer: Config, folder: Path) -> dict[str, Any]:
    text = json.loads((folder / "text_encoder" / "config.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    return {
        "blocks": transformer["num_layers"],
        "dual": tuple(transformer.get("dual_attention_layers") or ()),
        "normed": transformer.get("qk_norm") is not None,
        "places_side": transformer["pos_embed_max_size"],
        "clip_tokens": clip_tokens(tokenizer, text["max_position_embeddings"]),
    }


SD3 = Family(
    pipeline=StableDiffusion3Pipeline,
    stock=SD3Transformer2DModel,
    two_times=FlowMapSD3Transformer,
    text=Sd3Text,
    network=Sd3Network,
    facts=Sd3Facts,
    sizes=_sizes,
    told_by=_told_by,
    pooled_width=lambda encoders: sum(int(each["projection_dim"]) for each in encoders[:2]),
    patch=lambda transformer: int(transformer["patch_size"]),
    most_tokens=lambda transformer: 256,  # as its pipeline has it
    packed=False,
    adapted=(
        *BLOCK_LAYERS,
        *(name.replace("attn.", "attn2.") for name in BLOCK_LAYERS if name.startswith("attn.to_")),
        "proj_out",
    ),
)
