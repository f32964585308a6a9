"""Samples of every model from the same noise and prompts, a few hundred at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from flowmap.maps import Condition, FlowMap, compose, euler
from flowmap.maps.condition import rows
from flowmap.models.model import Model
from flowmap.seeding import generator_for

_PART = 256
Draw = Callable[[FlowMap, Tensor, Condition], Tensor]


@dataclass(frozen=True)
class Drawing:
    """What is drawn.

    Attributes:
        prompts: what prompt indices mean.
        prompt: of each sample, (N,).
        noise: of each sample, (N, *state).
    """

    prompts: tuple[str, ...]
    prompt: Tensor
    noise: Tensor

    def scaled(self, scale: float) -> Drawing:
        """The same from smaller noise."""
        return replace(self, noise=self.noise * scale)

    def anew(self, *purpose: int | str) -> Drawing:
        """The same prompts from other noise."""
        return replace(self, noise=torch.randn(self.noise.shape, generator=generator_for(*purpose)))

    def composed(self, model: Model, grid: tuple[float, ...]) -> Iterator[tuple[Tensor, Tensor]]:
        """Data and prompts in parts: a map applied along a grid."""
        return self._parts(
            model, lambda flow_map, noise, condition: compose(flow_map, noise, condition, grid)
        )

    def integrated(self, model: Model, num_evaluations: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Data and prompts in parts: Euler steps along the velocity."""
        return self._parts(
            model, lambda flow_map, noise, condition: euler(flow_map, noise, condition, num_evaluations)
        )

    @torch.no_grad()
    def _parts(self, model: Model, draw: Draw) -> Iterator[tuple[Tensor, Tensor]]:
        conditions = model.condition(self.prompts)
        for prompt, noise in zip(self.prompt.split(_PART), self.noise.split(_PART), strict=True):
            state = draw(model.flow_map, noise.to(model.device), rows(conditions, prompt.to(model.device)))
            yield model.codec.decode(state), prompt


def in_parts(data: Tensor, prompt: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Data that are there already, in parts of the same size."""
    return zip(data.split(_PART), prompt.split(_PART), strict=True)
