"""The autoencoder between pictures and latents, as a codec."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from flowmap.errors import ConfigError

FOLDER = "vae"  # of a diffusers pipeline
_AT_ONCE = 8  # pictures on a GPU


class LatentCodec:
    """Latents at the scale where they are about a standard normal: (mean - shift) * scale, as the
    autoencoder's configuration says.

    Args:
        vae: frozen.
        state_shape: of one latent, (channels, height, width).
    """

    def __init__(self, vae: Any, state_shape: Sequence[int]) -> None:
        self.vae = vae.eval().requires_grad_(False)
        self.state_shape = tuple(state_shape)

    @torch.no_grad()
    def encode(self, data: Tensor) -> Tensor:
        """Of pictures in [-1, 1], (batch, channels, height, width): the mean of each one's posterior."""
        config = self.vae.config
        latents = torch.cat([self.vae.encode(part).latent_dist.mean for part in _parts(data)])
        scaled: Tensor = (latents - (config.shift_factor or 0.0)) * config.scaling_factor
        return scaled

    def decode(self, state: Tensor) -> Tensor:
        """Pictures, (batch, channels, height, width)."""
        config = self.vae.config
        latents = state / config.scaling_factor + (config.shift_factor or 0.0)
        return torch.cat([self.vae.decode(part).sample for part in _parts(latents)])

    @classmethod
    def load(cls, folder: Path, state_shape: Sequence[int]) -> LatentCodec:
        """Raises ConfigError where there is no autoencoder."""
        if not (folder / FOLDER).is_dir():
            raise ConfigError(f"the model has no {FOLDER}: its autoencoder can't be read")
        vae = AutoencoderKL.from_pretrained(folder / FOLDER, use_safetensors=True)
        return cls(vae, state_shape)


def _parts(batch: Tensor) -> Sequence[Tensor]:
    """On a GPU a few at a time: each takes far more memory in the autoencoder than as picture or latent."""
    return batch.split(_AT_ONCE) if batch.is_cuda else (batch,)


def fresh_autoencoder(channels: int, latent_channels: int, widths: Sequence[int]) -> Any:
    """A small one, weights drawn from torch's global generator; a width but the first halves the sides."""
    return AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        block_out_channels=tuple(widths),
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        latent_channels=latent_channels,
        layers_per_block=1,
        norm_num_groups=8,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
