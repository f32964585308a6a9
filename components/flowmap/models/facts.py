"""How a model is built, by kind. One more kind is one more class in `ModelFacts`, with the same four names.

facts.build(device)       # a Model with fresh weights
facts.prompts, facts.shape, facts.grid
facts.size()              # parameters and activations by a count, without torch
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import torch

    from flowmap.models.model import Model

_FREQUENCIES = 64
# Values of one block that its backward pass needs, in widths: its input, norm, modulation, hidden twice,
# output.
_KEPT_WIDTHS = 12


@dataclass(frozen=True)
class ModelSize:
    """What a model takes, in numbers (not bytes): parameters, activations a sample, and values of one
    state."""

    parameters: int
    activations: int
    state: int


class MlpFacts(BaseModel):
    """A modulated MLP on small states, its prompts an embedding's rows.

    Attributes:
        shape: of one state, which is the datum itself.
        prompts: what its prompt indices mean.
        width, depth, max_frequency: the network's sizes.
        modality: what kind of data it makes.
        grid: the times it was fine-tuned on, falling from 1 to 0; None for a base model.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["modulated_mlp"] = "modulated_mlp"
    shape: tuple[int, ...]
    prompts: tuple[str, ...]
    width: int
    depth: int
    max_frequency: float
    modality: str = "images"
    grid: tuple[float, ...] | None = None

    def build(self, device: torch.device | None = None) -> Model:
        """The model with fresh weights, drawn from torch's global generator."""
        from flowmap.models.model import Model
        from flowmap.models.modulated_mlp import ModulatedMLP

        network = ModulatedMLP(self.shape, len(self.prompts), self.width, self.depth, self.max_frequency)
        return Model(
            network if device is None else network.to(device), prompts=self.prompts, shape=self.shape
        )

    def size(self) -> ModelSize:
        """By a count; what the network itself says is tested to be the same."""
        dims, width = math.prod(self.shape), self.width

        def linear(inputs: int, outputs: int) -> int:
            return inputs * outputs + outputs

        embedding = linear(_FREQUENCIES, width) + linear(width, width)
        block = linear(width, 3 * width) + linear(width, 2 * width) + linear(2 * width, width)
        around = linear(dims, width) + linear(width, dims) + len(self.prompts) * width
        return ModelSize(
            parameters=around + 2 * embedding + self.depth * block,
            activations=self.depth * width * _KEPT_WIDTHS,
            state=dims,
        )


ModelFacts = MlpFacts  # one kind so far; of several, the union that `kind` tells apart
