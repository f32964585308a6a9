"""How a model is built, by kind. One more kind is one more class in `ModelFacts`, with the same four names.

facts.build(device)       # a Model with fresh weights
facts.prompts, facts.shape, facts.state_shape, facts.grid
facts.size()              # parameters and activations by a count, without torch
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from flowmap.models.facts_base import Facts, SamplerFacts
from flowmap.models.size import KEPT_TRANSFORMER_WIDTHS, ModelSize, embeddings, linear
from flowmap.models.text_to_image_facts import FluxFacts, Sd3Facts
from flowmap.prompts.facts import PromptFacts

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import nn

    from flowmap.models.model import Model

# Values of one block that its backward pass needs, in widths: its input, norm, modulation, hidden twice,
# output.
_KEPT_WIDTHS = 12
_HEAD = 32


class _TableFacts(Facts):
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
        kept = KEPT_TRANSFORMER_WIDTHS * width + 2 * num_patches * width // _HEAD
        return ModelSize(
            parameters=around + self.depth * block,
            activations=self.depth * num_patches * kept,
            state=math.prod(self.shape),
        )


# Of several kinds `kind` says which.
ModelFacts = Annotated[MlpFacts | DitFacts | FluxFacts | Sd3Facts, Field(discriminator="kind")]
