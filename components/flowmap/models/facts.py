"""How a model is built, by kind. One more kind is one more class in `ModelFacts`, with the same four names.

facts.build(device)       # a Model with fresh weights
facts.prompts, facts.shape, facts.state_shape, facts.grid
facts.size()              # parameters and activations by a count, without torch
"""

from __future__ import annotations

import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from flowmap.models.size import ModelSize, embeddings, linear
from flowmap.prompts.facts import PromptFacts

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import nn

    from flowmap.models.model import Model

# Imported by name, so that what needs no such model neither loads it nor depends on its code.
TEXT_TO_IMAGE = "flowmap.text_to_image.building"

# Values of one block that its backward pass needs, in widths: its input, norm, modulation, hidden twice,
# output.
_KEPT_WIDTHS = 12
# The same of a transformer's block, for each patch: norms, modulated, heads, attended, four widths twice.
_KEPT_TRANSFORMER_WIDTHS = 18
_HEAD = 32
_FLUX_FREQUENCIES, _SPAN_FREQUENCIES = 256, 32


class SamplerFacts(BaseModel):
    """How a model is drawn that ships stochastic transitions: the kernel they were trained with.

    Attributes:
        window: the intervals of the grid, from 0, that are stochastic.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    kernel: str
    anchor_distance: float
    window: tuple[int, ...]


class _Facts(BaseModel, ABC):
    """What every kind has.

    Attributes:
        shape: of one datum.
        prompts: those that it was trained on, in their order.
        modality: what kind of data it makes.
        grid: the times it was fine-tuned on, falling from 1 to 0; None for a base model.
        prompt_facts: what the prompts demand and which training has not seen, where that is known.
        sampler: how it is drawn where that is not the map along the grid.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    shape: tuple[int, ...]
    prompts: tuple[str, ...]

    @property
    def state_shape(self) -> tuple[int, ...]:
        """Of what the flow map moves."""
        return self.shape

    @abstractmethod
    def build(self, device: torch.device | None = None, parts: Path | None = None) -> Model:
        """The model with fresh weights, drawn from torch's global generator.

        Args:
            parts: the artifact's folder, where a kind has parts that lie there as they are.
        """

    @abstractmethod
    def size(self) -> ModelSize:
        """By a count, without torch."""


class _TableFacts(_Facts):
    """Of networks on the data themselves, with a table of prompts inside.

    Attributes:
        width, depth, max_frequency: the network's sizes.
    """

    width: int
    depth: int
    max_frequency: float
    modality: str = "images"
    grid: tuple[float, ...] | None = None
    prompt_facts: PromptFacts | None = Field(default=None, exclude_if=lambda known: known is None)
    sampler: SamplerFacts | None = Field(default=None, exclude_if=lambda known: known is None)

    @abstractmethod
    def network(self) -> nn.Module:
        """With fresh weights, drawn from torch's global generator."""

    def build(self, device: torch.device | None = None, parts: Path | None = None) -> Model:
        from flowmap.models.model import Model

        network = self.network()
        return Model(
            network if device is None else network.to(device), prompts=self.prompts, shape=self.shape
        )


class MlpFacts(_TableFacts):
    """A modulated MLP on small states, its prompts an embedding's rows, or occasions with a context each.

    Attributes:
        context: its shape, where they are.
    """

    kind: Literal["modulated_mlp"] = "modulated_mlp"
    context: tuple[int, ...] | None = Field(default=None, exclude_if=lambda shape: shape is None)

    def network(self) -> nn.Module:
        from flowmap.models.modulated_mlp import ModulatedMLP

        sizes = (self.width, self.depth, self.max_frequency, self.context)
        return ModulatedMLP(self.shape, len(self.prompts), *sizes)

    def size(self) -> ModelSize:
        """By a count; what the network itself says is tested to be the same."""
        dims, width = math.prod(self.shape), self.width
        block = linear(width, 3 * width) + linear(width, 2 * width) + linear(2 * width, width)
        around = linear(dims, width) + linear(width, dims)
        if self.context is None:
            around += embeddings(width, len(self.prompts))
        else:
            around += embeddings(width, 0) + linear(math.prod(self.context), width) + linear(width, width)
        return ModelSize(
            parameters=around + self.depth * block,
            activations=self.depth * width * _KEPT_WIDTHS,
            state=dims,
        )


class DitFacts(_TableFacts):
    """A transformer over patches of an image, its prompts an embedding's rows.

    Attributes:
        patch: pixels on a patch's side.
    """

    kind: Literal["dit"] = "dit"
    patch: int

    @model_validator(mode="after")
    def _patches_fit(self) -> Self:
        height, width = self.shape[-2:] if len(self.shape) == 3 else (0, 0)
        if not height or height % self.patch or width % self.patch:
            raise ValueError(
                f"patches of {self.patch} x {self.patch} pixels do not divide data of shape "
                f"{' x '.join(map(str, self.shape))}"
            )
        if self.width % _HEAD:
            raise ValueError(f"width {self.width} is no multiple of {_HEAD}, an attention head's width")
        return self

    def network(self) -> nn.Module:
        from flowmap.models.dit import DiT

        sizes = (self.width, self.depth, self.patch, self.max_frequency)
        return DiT(self.shape, len(self.prompts), *sizes)

    def size(self) -> ModelSize:
        """By a count; what the network itself says is tested to be the same."""
        values, width = self.shape[0] * self.patch**2, self.width
        num_patches = math.prod(self.shape) // values
        block = linear(width, 6 * width) + linear(width, 3 * width) + linear(width, width)
        block += linear(width, 4 * width) + linear(4 * width, width)
        around = linear(values, width) + linear(width, values) + linear(width, 2 * width)
        around += num_patches * width + embeddings(width, len(self.prompts))
        kept = _KEPT_TRANSFORMER_WIDTHS * width + 2 * num_patches * width // _HEAD
        return ModelSize(
            parameters=around + self.depth * block,
            activations=self.depth * num_patches * kept,
            state=math.prod(self.shape),
        )


class FluxFacts(_Facts):
    """A transformer of FLUX's architecture on the latents of an autoencoder, told by text encoders.

    The encoders and the autoencoder lie beside the weights, in the folders of a diffusers pipeline.

    Attributes:
        latent: shape of one state, (channels, height, width).
        patch: latents on the side of what becomes one token.
        heads, head_width: of the attention; their product is the width.
        double_blocks, single_blocks: with streams of their own for text and image, and with one for both.
        text_width, pooled_width: of what the two text encoders give.
        num_tokens: that a prompt has, longer ones being cut.
        axes: of the rotary embedding: the text's part, rows' and columns'; None is a quarter for the text.
        two_times: whether it knows two times; a model that knows one goes straight to its endpoint.
        places: whether each place has a learnt vector.
        precision: what the transformer and the text encoders are held and computed in.
        guided: whether it is told a guidance scale, as those are that were distilled from it.
    """

    kind: Literal["flux"] = "flux"
    latent: tuple[int, int, int]
    patch: int = 2
    heads: int
    head_width: int
    double_blocks: int
    single_blocks: int
    text_width: int
    pooled_width: int
    num_tokens: int
    axes: tuple[int, int, int] | None = None
    two_times: bool = True
    places: bool = True
    guided: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"
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

    def build(self, device: torch.device | None = None, parts: Path | None = None) -> Model:
        built: Model = importlib.import_module(TEXT_TO_IMAGE).build(self, device, parts)
        return built

    @property
    def between_blocks(self) -> int:
        """Values of one sample that go from block to block."""
        num_places = self.latent[1] * self.latent[2] // self.patch**2
        return self.width * (num_places + self.num_tokens)

    def adapters(self, rank: int) -> int:
        """Parameters of low-rank adapters on every linear layer of the blocks."""
        width, values = self.width, self.latent[0] * self.patch**2
        double = 8 * 2 * width + 4 * 5 * width  # attention of both streams, and what each does alone
        single = 3 * 2 * width + 5 * width + 6 * width
        return rank * (self.double_blocks * double + self.single_blocks * single + width + values)

    def size(self) -> ModelSize:
        """By a count; what the network itself says is tested to be the same."""
        width, values = self.width, self.latent[0] * self.patch**2
        num_places = self.latent[1] * self.latent[2] // self.patch**2
        attention = 4 * linear(width, width) + 2 * self.head_width
        alone = linear(width, 4 * width) + linear(4 * width, width)
        double = 2 * (linear(width, 6 * width) + attention + alone)
        single = linear(width, 3 * width) + 3 * linear(width, width) + 2 * self.head_width
        single += linear(width, 4 * width) + linear(5 * width, width)
        around = linear(values, width) + linear(width, values) + linear(width, 2 * width)
        around += linear(self.text_width, width) + self.places * num_places * width
        embedding = linear(_FLUX_FREQUENCIES, width) + linear(width, width)
        around += (1 + self.guided) * embedding + linear(self.pooled_width, width) + linear(width, width)
        around += self.two_times * (linear(2 * _SPAN_FREQUENCIES, width) + linear(width, width))
        kept = _KEPT_TRANSFORMER_WIDTHS * self.between_blocks
        return ModelSize(
            parameters=around + self.double_blocks * double + self.single_blocks * single,
            activations=(self.double_blocks + self.single_blocks) * kept,
            state=math.prod(self.latent),
        )


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


# Of several kinds `kind` says which.
ModelFacts = Annotated[MlpFacts | DitFacts | FluxFacts, Field(discriminator="kind")]
