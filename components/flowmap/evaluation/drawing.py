"""Samples of every model from the same noise and prompts, a few hundred at a time."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from flowmap.asfmc import Policy
from flowmap.maps import Condition, FlowMap, compose, euler
from flowmap.maps.condition import rows
from flowmap.models.model import Model
from flowmap.seeding import generator_for
from flowmap.training.memory import in_halves

PART = 256  # samples at once
_MOST_VALUES = 2**22  # in the states of a part: of those of 512 x 512 pictures there are 64 in it
_MOST_THREADS = 4  # each holds the activations of a part
X = TypeVar("X")
Y = TypeVar("Y")
Draw = Callable[[FlowMap, Tensor, Condition], Tensor]
Solver = Callable[[FlowMap, Tensor, Condition, int, float], Tensor]


@dataclass(frozen=True)
class Drawing:
    """What is drawn.

    Attributes:
        prompts: what prompt indices mean.
        prompt: of each sample, (N,).
        noise: of each sample, (N, *state).
        purpose: what the noise is for: that of transitions follows from it too.
    """

    prompts: tuple[str, ...]
    prompt: Tensor
    noise: Tensor
    purpose: tuple[int | str, ...] = ()

    def scaled(self, scale: float) -> Drawing:
        """The same from smaller noise."""
        return replace(self, noise=self.noise * scale)

    def anew(self, *purpose: int | str) -> Drawing:
        """The same prompts from other noise."""
        noise = torch.randn(self.noise.shape, generator=generator_for(*purpose))
        return replace(self, noise=noise, purpose=purpose)

    def composed(
        self, model: Model, grid: tuple[float, ...], policy: Policy | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Data and prompts in parts: a map applied along a grid, or a policy that draws some of it."""
        if policy is None:
            return self._parts(
                model, lambda flow_map, noise, condition: compose(flow_map, noise, condition, grid)
            )
        return self._parts(
            model,
            lambda flow_map, noise, condition: policy.draw(flow_map, noise, condition, grid),
            torch.stack([self.noise, *map(self._of_transition, policy.window)], 1),
        )

    def _of_transition(self, index: int) -> Tensor:
        return torch.randn(self.noise.shape, generator=generator_for(*self.purpose, "transition", index))

    def integrated(
        self, model: Model, num_evaluations: int, solver: Solver = euler
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Data and prompts in parts: steps along the velocity, by `euler` or `heun`."""
        return self._parts(
            model,
            lambda flow_map, noise, condition: solver(
                flow_map, noise, condition, num_evaluations, model.shift
            ),
        )

    def _parts(
        self, model: Model, draw: Draw, noise: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        @torch.no_grad()
        def drawn(part: tuple[Tensor, Tensor, Condition]) -> tuple[Tensor, Tensor]:
            prompt, noise, condition = part
            names = list(condition)

            def data(noise: Tensor, *leaves: Tensor) -> Tensor:
                told = dict(zip(names, leaves, strict=True))
                return model.codec.decode(draw(model.flow_map, noise.to(model.device), told))

            return in_halves(data, noise, *condition.values()), prompt

        given, size = self.noise if noise is None else noise, at_once(self.noise.shape[1:])
        parts = self._told(model, [*zip(self.prompt.split(size), given.split(size), strict=True)])
        return side_by_side(drawn, parts) if model.device.type == "cpu" else map(drawn, parts)

    def _told(
        self, model: Model, parts: Sequence[tuple[Tensor, Tensor]]
    ) -> Iterator[tuple[Tensor, Tensor, Condition]]:
        """Parts with their conditions: prompts of as many of them as the model keeps are made at once."""
        asked = dict.fromkeys(int(each) for prompt, _ in parts for each in prompt.unique())
        if not model.prepare([self.prompts[each] for each in asked]) and len(parts) > 1:
            yield from self._told(model, parts[: len(parts) // 2])
            yield from self._told(model, parts[len(parts) // 2 :])
            return
        for prompt, noise in parts:
            yield prompt, noise, self._condition(model, prompt)

    @torch.no_grad()
    def _condition(self, model: Model, prompt: Tensor) -> Condition:
        """Of a part; what all prompts are to a model may be more than memory holds."""
        different, index = prompt.unique(return_inverse=True)
        told = model.condition([self.prompts[each] for each in different.tolist()])
        return rows(told, index.to(model.device))


def at_once(state_shape: Sequence[int]) -> int:
    """How many samples are drawn at once."""
    return max(1, min(PART, _MOST_VALUES // math.prod(state_shape)))


def side_by_side(compute: Callable[[X], Y], items: Iterable[X]) -> Iterator[Y]:
    """What comes of each item, in their order, a few computed at once and never more than that kept.

    Each in a thread of its own that uses no others: so the cores are used, and the bytes do not depend on
    their number.
    """
    num = min(_MOST_THREADS, int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
    with ThreadPoolExecutor(num, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        under_way: deque[Future[Y]] = deque()
        for item in items:
            under_way.append(pool.submit(compute, item))
            if len(under_way) > num:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


def in_parts(data: Tensor, prompt: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Data that are there already, in parts of the same size; large pictures may lie in half precision."""
    return zip((part.float() for part in data.split(PART)), prompt.split(PART), strict=True)
