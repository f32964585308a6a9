"""How transformers are built that make an image's latents from a text, by architecture."""

from __future__ import annotations

import importlib
import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from flowmap.models.facts_base import Facts, SamplerFacts
from flowmap.models.size import KEPT_TRANSFORMER_WIDTHS, ModelSize, linear
from flowmap.prompts.facts import PromptFacts

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from flowmap.models.model import Model

# Imported by name, so that what needs no such model neither loads it nor depends on its code.
_BUILDING = "flowmap.text_to_image.building"
_TIME_FREQUENCIES, _SPAN_FREQUENCIES = 256, 32
_GUIDANCE = 3.5  # what those that are told one were made for


class TextToImageFacts(Facts):
    """What all of them have: latents of an autoencoder, and text encoders, frozen.

    Both lie beside the weights, in the folders of a diffusers pipeline.

    Attributes:
        latent: shape of one state, (channels, height, width).
        patch: latents on the side of what becomes one token.
        heads, head_width: of the attention; their product is the width.
        text_width, pooled_width: of a text's tokens, and of what is told of the whole of it.
        num_tokens: that T5 has of a prompt, longer ones being cut.
        two_times: whether it knows two times; a model that knows one goes straight to its endpoint.
        precision: what the transformer and the text encoders are held and computed in.
        guidance: the scale of classifier-free guidance that the map has built in, and that its velocity is
            drawn with; None for none.
        shift: of the times that it is drawn at where no grid is given, as its own scheduler has it for
            pictures of its size.
    """

    latent: tuple[int, int, int]
    patch: int = 2
    heads: int
    head_width: int
    text_width: int
    pooled_width: int
    num_tokens: int
    two_times: bool = True
    precision: Literal["float32", "bfloat16"] = "float32"
    guidance: float | None = Field(default=None, exclude_if=lambda scale: scale is None)
    shift: float = Field(default=1.0, exclude_if=lambda shift: shift == 1)
    modality: str = "images"
    grid: tuple[float, ...] | None = None
    prompt_facts: PromptFacts | None = Field(default=None, exclude_if=lambda known: known is None)
    sampler: SamplerFacts | None = Field(default=None, exclude_if=lambda known: known is None)

    @property
    def state_shape(self) -> tuple[int, ...]:
        return self.latent

    @property
    def width(self) -> int:
        return self.heads * self.head_width

    @property
    def told_guidance(self) -> float:
        """The scale that the network is told, as `guidance_scale` of a pipeline; 0 where it is told none."""
        return 0.0

    @property
    @abstractmethod
    def num_blocks(self) -> int:
        """Blocks one after the other."""

    @property
    def between_blocks(self) -> int:
        """Values of one sample that go from block to block."""
        return self.width * (self._num_places + self._text_tokens)

    @abstractmethod
    def adapters(self, rank: int) -> int:
        """Parameters of low-rank adapters on every linear layer of the blocks."""

    def build(self, device: torch.device | None = None, parts: Path | None = None) -> Model:
        built: Model = importlib.import_module(_BUILDING).build(self, device, parts)
        return built

    def size(self) -> ModelSize:
        """By a count; what the network itself says is tested to be the same."""
        return ModelSize(
            parameters=self._around() + self._in_blocks(),
            activations=self.num_blocks * KEPT_TRANSFORMER_WIDTHS * self.between_blocks,
            state=math.prod(self.latent),
        )

    @property
    def flops(self) -> int:
        """Floating-point operations of one evaluation for one sample: what its matrices multiply."""
        image, text, width = self._num_places, self._text_tokens, self.width
        tokens = image + text
        around = 2 * width * (2 * self._values * image + self.text_width * text)
        return self.num_blocks * _block_flops(width, tokens) + around

    @property
    def _num_places(self) -> int:
        return self.latent[1] * self.latent[2] // self.patch**2

    @property
    def _values(self) -> int:
        return self.latent[0] * self.patch**2

    @property
    def _text_tokens(self) -> int:
        return self.num_tokens

    @abstractmethod
    def _in_blocks(self) -> int:
        """Parameters of the blocks."""

    def _around(self) -> int:
        """Parameters before and behind the blocks: of tokens, output, text, time and pooled text."""
        width = self.width
        around = linear(self._values, width) + linear(width, self._values) + linear(width, 2 * width)
        around += linear(self.text_width, width) + linear(_TIME_FREQUENCIES, width) + linear(width, width)
        around += linear(self.pooled_width, width) + linear(width, width)
        return around + self.two_times * (linear(2 * _SPAN_FREQUENCIES, width) + linear(width, width))


class FluxFacts(TextToImageFacts):
    """FLUX's: told by T5 and the pooled vector of CLIP.

    Attributes:
        double_blocks, single_blocks: with streams of their own for text and image, and with one for both.
        axes: of the rotary embedding: the text's part, rows' and columns'; None is a quarter for the text.
        places: whether each place has a learnt vector.
        guided: whether it is told a guidance scale, as those are that were distilled from it.
    """

    kind: Literal["flux"] = "flux"
    double_blocks: int
    single_blocks: int
    axes: tuple[int, int, int] | None = None
    places: bool = True
    guided: bool = False

    @property
    def told_guidance(self) -> float:
        return _GUIDANCE if self.guided else 0.0

    @property
    def num_blocks(self) -> int:
        return self.double_blocks + self.single_blocks

    def adapters(self, rank: int) -> int:
        width = self.width
        double = 8 * 2 * width + 4 * 5 * width  # attention of both streams, and what each does alone
        single = 3 * 2 * width + 5 * width + 6 * width
        return rank * (self.double_blocks * double + self.single_blocks * single + width + self._values)

    def _in_blocks(self) -> int:
        width = self.width
        attention = 4 * linear(width, width) + 2 * self.head_width
        double = 2 * (linear(width, 6 * width) + attention + _alone(width))
        single = linear(width, 3 * width) + 3 * linear(width, width) + 2 * self.head_width
        single += linear(width, 4 * width) + linear(5 * width, width)
        return self.double_blocks * double + self.single_blocks * single

    def _around(self) -> int:
        width = self.width
        guidance = linear(_TIME_FREQUENCIES, width) + linear(width, width)
        return super()._around() + self.places * self._num_places * width + self.guided * guidance


class Sd3Facts(TextToImageFacts):
    """Stable Diffusion 3's: told by two CLIP encoders, whose tokens come before T5's, and by both their
    pooled vectors.

    Attributes:
        blocks: with streams of their own for text and image; in the last one the text's ends.
        dual: those of them, from 0, in which the image attends to itself once more.
        normed: whether queries and keys are normalised.
        places_side: of the square that holds the embeddings of places, in tokens.
        clip_tokens: that the CLIP encoders have of a prompt.
    """

    kind: Literal["sd3"] = "sd3"
    blocks: int
    dual: tuple[int, ...] = ()
    normed: bool = False
    places_side: int
    clip_tokens: int

    @property
    def num_blocks(self) -> int:
        return self.blocks

    def adapters(self, rank: int) -> int:
        width = self.width
        whole = 8 * 2 * width + 4 * 5 * width
        ended = 2 * width + 2 * 5 * width  # of the last: the text's output, and what it does alone
        return rank * (self.blocks * whole - ended + len(self.dual) * 4 * 2 * width + width + self._values)

    @property
    def _text_tokens(self) -> int:
        return self.clip_tokens + self.num_tokens

    @property
    def flops(self) -> int:
        width, image = self.width, self._num_places
        again = 2 * 4 * width**2 * image + 4 * image**2 * width
        ended = (
            2 * 9 * width**2 * self._text_tokens
        )  # of the last block: the text's output, what it does alone
        return super().flops + len(self.dual) * again - ended

    def _in_blocks(self) -> int:
        width, norms = self.width, 2 * self.head_width * self.normed
        attention = 4 * linear(width, width) + norms
        whole = 2 * (linear(width, 6 * width) + attention + _alone(width))
        ended = linear(width, 6 * width) - linear(width, 2 * width) + linear(width, width) + _alone(width)
        again = linear(width, 9 * width) - linear(width, 6 * width) + attention
        return self.blocks * whole - ended + len(self.dual) * again


def _block_flops(width: int, tokens: int) -> int:
    """Of a block: twelve widths squared for each token, and attention among all of them."""
    return 2 * 12 * width**2 * tokens + 4 * tokens**2 * width


def _alone(width: int) -> int:
    """Parameters of the two layers that a token goes through alone."""
    return linear(width, 4 * width) + linear(4 * width, width)


def latent_shape(shape: Sequence[int], channels: int, halvings: int, patch: int) -> tuple[int, int, int]:
    """Of what an autoencoder makes of pictures (colours, height, width) that halves their sides so often.

    Raises ValueError where patches of the latents do not come out even.
    """
    step = patch << halvings
    if len(shape) != 3 or any(side % step for side in shape[1:]):
        told = " x ".join(map(str, shape))
        raise ValueError(f"pictures with sides that {step} divides are asked for, and data are {told}")
    height, width = (side >> halvings for side in shape[1:])
    return channels, height, width
