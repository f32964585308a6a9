"""How a model is built, by kind. One more kind is one more class in `ModelFacts`, with the same four names.

facts.build(device)       # a Model with fresh weights
facts.prompts, facts.shape, facts.grid
facts.size()              # parameters and activations by a count, without torch
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    import torch
    from torch import nn

    from flowmap.models.model import Model

_FREQUENCIES = 64
# Values of one block that its backward pass needs, in widths: its input, norm, modulation, hidden twice,
# output.
_KEPT_WIDTHS = 12
# The same of a transformer's block, for each patch: norms, modulated, heads, attended, four widths twice.
_KEPT_TRANSFORMER_WIDTHS = 18
_HEAD = 32


@dataclass(frozen=True)
class ModelSize:
    """What a model takes, in numbers (not bytes): parameters, activations a sample, and values of one
    state."""

    parameters: int
    activations: int
    state: int


class _Facts(BaseModel, ABC):
    """What every kind has.

    Attributes:
        shape: of one state, which is the datum itself.
        prompts: what its prompt indices mean.
        width, depth, max_frequency: the network's sizes.
        modality: what kind of data it makes.
        grid: the times it was fine-tuned on, falling from 1 to 0; None for a base model.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    shape: tuple[int, ...]
    prompts: tuple[str, ...]
    width: int
    depth: int
    max_frequency: float
    modality: str = "images"
    grid: tuple[float, ...] | None = None

    @abstractmethod
    def network(self) -> nn.Module:
        """With fresh weights, drawn from torch's global generator."""

    def build(self, device: torch.device | None = None) -> Model:
        """The model with fresh weights, drawn from torch's global generator."""
        from flowmap.models.model import Model

        network = self.network()
        return Model(
            network if device is None else network.to(device), prompts=self.prompts, shape=self.shape
        )


class MlpFacts(_Facts):
    """A modulated MLP on small states, its prompts an embedding's rows."""

    kind: Literal["modulated_mlp"] = "modulated_mlp"

    def network(self) -> nn.Module:
        from flowmap.models.modulated_mlp import ModulatedMLP

        return ModulatedMLP(self.shape, len(self.prompts), self.width, self.depth, self.max_frequency)

    def size(self) -> ModelSize:
        """By a count; what the network itself says is tested to be the same."""
        dims, width = math.prod(self.shape), self.width
        block = _linear(width, 3 * width) + _linear(width, 2 * width) + _linear(2 * width, width)
        around = _linear(dims, width) + _linear(width, dims) + _embeddings(width, len(self.prompts))
        return ModelSize(
            parameters=around + self.depth * block,
            activations=self.depth * width * _KEPT_WIDTHS,
            state=dims,
        )


class DitFacts(_Facts):
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
        block = _linear(width, 6 * width) + _linear(width, 3 * width) + _linear(width, width)
        block += _linear(width, 4 * width) + _linear(4 * width, width)
        around = _linear(values, width) + _linear(width, values) + _linear(width, 2 * width)
        around += num_patches * width + _embeddings(width, len(self.prompts))
        kept = _KEPT_TRANSFORMER_WIDTHS * width + 2 * num_patches * width // _HEAD
        return ModelSize(
            parameters=around + self.depth * block,
            activations=self.depth * num_patches * kept,
            state=math.prod(self.shape),
        )


def _linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def _embeddings(width: int, num_prompts: int) -> int:
    """Of two times and the prompt."""
    return 2 * (_linear(_FREQUENCIES, width) + _linear(width, width)) + num_prompts * width


# Of several kinds `kind` says which.
ModelFacts = Annotated[MlpFacts | DitFacts, Field(discriminator="kind")]
