"""Pictures as latents and captions as conditions, by the parts of a checkpoint: for pictures that are
encoded once and trained on often.

    encoder = Encoder.load(captioned, "data_prep.captioned.encoder", scratch, sizes=[(512, 512)])
    latents = encoder.latents(pictures)              # (N, 3, rows, columns) in [-1, 1]
    encoder.write_shard(directory, 0, [latents], captions)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowmap.data.naming import named
from flowmap.data.pretrained import pretrained_at_hand, pretrained_outline
from flowmap.data.shards import write_shard
from flowmap.errors import ConfigError
from flowmap.settings.data import Captioned
from flowmap.text_to_image.checkpoints import digests_of, family_at
from flowmap.text_to_image.families import FAMILIES
from flowmap.text_to_image.latents import LatentCodec
from flowmap.text_to_image.network import POOLED, TOKENS
from flowmap.text_to_image.parts import SCHEDULER, num_tokens_of, tell_cut
from flowmap.text_to_image.text import TextEncoders
from flowmap.training.devices import device
from flowmap.training.memory import full_memory_told, less_for_encoding


class Encoder:
    """An autoencoder and text encoders, on the device.

    Args:
        digests: of the autoencoder and of the text encoders.
        dtype: what the text encoders are computed in, and everything is kept in.
        batch: pictures, or captions, at once.
        tell_cut: says which of some texts are longer than the encoders take; as that of `parts`.
    """

    def __init__(
        self,
        codec: LatentCodec,
        texts: TextEncoders,
        digests: tuple[str, str],
        dtype: torch.dtype,
        batch: int,
        tell_cut: Callable[[Sequence[str], str], None],
    ) -> None:
        self.device, self.dtype, self.batch, self.tell_cut = device(), dtype, batch, tell_cut
        self.codec, self.texts = codec, texts.eval().requires_grad_(False)
        codec.vae.to(self.device), texts.to(self.device, dtype)
        self.digests = digests

    @classmethod
    def load(cls, captioned: Captioned, where: str, scratch: Path, sizes: Sequence[tuple[int, int]]) -> Self:
        """Args:
            where: the setting, for messages.
            sizes: of the pictures that are to come.

        Raises ConfigError or DataError where the model can't be fetched, lacks a part, or has no latents of
        such a size.
        """
        folders = [SCHEDULER, *(name for name in _folders() if name != "transformer")]
        pretrained_outline(captioned.encoder, where, scratch, ("transformer",))  # how long its texts are
        folder = pretrained_at_hand(captioned.encoder, where, scratch, folders)
        family = family_at(folder, where, without_transformer=True)
        codec = LatentCodec.load(folder, ())
        multiple = 2 ** len(codec.vae.config.block_out_channels)  # a token is two latents wide
        if odd := [size for size in sizes if any(side % multiple for side in size)]:
            raise ConfigError(
                f"data_prep: pictures of {named([f'{size[0]} x {size[1]}' for size in odd])} do not come "
                f"out even: the sides of resize and captioned.buckets are to be multiples of {multiple}"
            )
        dtype = torch.bfloat16 if captioned.precision == "bfloat16" else torch.float32
        num_tokens = num_tokens_of(family, folder)
        texts = family.text.load(folder, num_tokens)
        cut = partial(tell_cut, family, folder)
        return cls(codec, texts, digests_of(folder, family), dtype, captioned.batch, cut)

    def latents(self, pictures: NDArray[np.float32]) -> Tensor:
        """Of pictures (N, colours, rows, columns) in [-1, 1], on the processor."""
        with self._full_memory_told():
            return self.codec.encode(torch.from_numpy(pictures).to(self.device)).to("cpu", self.dtype)

    @torch.no_grad()
    def condition(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """What a transformer is told of each caption, on the processor; leaves (N, ...)."""
        with self._full_memory_told():
            tokens, pooled = self.texts(captions)
        return {TOKENS: tokens.to("cpu", self.dtype), POOLED: pooled.to("cpu", self.dtype)}

    def _full_memory_told(self) -> AbstractContextManager[None]:
        return full_memory_told("data_prep", less_for_encoding(self.batch))

    def write_shard(
        self, directory: Path, number: int, latents: Sequence[Tensor], captions: Sequence[str]
    ) -> None:
        """Latents in parts, and the caption of each picture."""
        different = list(dict.fromkeys(captions))
        parts = [
            self.condition(different[first : first + self.batch])
            for first in range(0, len(different), self.batch)
        ]
        condition = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        index = {caption: at for at, caption in enumerate(different)}
        text = [index[caption] for caption in captions]
        write_shard(directory, number, torch.cat(list(latents)), condition, text)


def _folders() -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for family in FAMILIES for name in family.folders))
