"""What every kind of model says of itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from flowmap.models.size import ModelSize

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from flowmap.models.model import Model


class SamplerFacts(BaseModel):
    """How a model is drawn that ships stochastic transitions: the kernel they were trained with.

    Attributes:
        window: the intervals of the grid, from 0, that are stochastic.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    kernel: str
    anchor_distance: float
    window: tuple[int, ...]


class Facts(BaseModel, ABC):
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
