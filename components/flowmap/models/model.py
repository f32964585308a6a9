"""A model as everything but its own files sees it.

    model = Model(network, prompts=["a", "b"], shape=(2,))   # a network of one's own, on a table of prompts
    x = model.sample(["a", "a"], noise, grid)                 # data, (2, *data)

A network takes states, times and a condition; a conditioner makes the condition from prompts; a codec goes
between data and states. Kernels, rollout, objective and evaluation never look into a condition.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from flowmap.errors import ConfigError
from flowmap.maps import Condition, FlowMap, TwoTimeMap, compose
from flowmap.prompts.facts import some_of

MakeMap = Callable[[Any], FlowMap]


class Conditioner(Protocol):
    """From prompts to what the network takes."""

    def encode(self, prompts: Sequence[str]) -> Condition:
        """The condition of each prompt; leaves (prompts, ...).

        Raises ConfigError for one it does not know.
        """


@runtime_checkable
class Preparing(Conditioner, Protocol):
    """One to whom a prompt is work, and who keeps what came of some."""

    def prepare(self, prompts: Sequence[str]) -> bool:
        """Do now what is to be asked for, where all of it can be kept; returns whether it is."""


class Codec(Protocol):
    """Between data, such as pictures, and the states that a flow map moves, such as latents."""

    @property
    def state_shape(self) -> tuple[int, ...]:
        """Of one state."""

    def encode(self, data: Tensor) -> Tensor:
        """States of data, (batch, *data) to (batch, *state_shape)."""

    def decode(self, state: Tensor) -> Tensor:
        """Data of states, (batch, *state_shape) to (batch, *data)."""


class Adapters(Protocol):
    """Small weights beside frozen ones, which are all that is trained."""

    def off(self) -> AbstractContextManager[None]:
        """The network as it was before, for the time of the block."""

    def merged(self, network: nn.Module) -> dict[str, Tensor]:
        """The weights of a plain network that does the same as this one, or as a copy of it."""


class PromptTable:
    """Each prompt's index into a list, as the leaf `prompt` (batch,): what an embedding in the network looks
    up."""

    def __init__(self, prompts: Sequence[str]) -> None:
        self.prompts = tuple(prompts)
        self._index = {prompt: index for index, prompt in enumerate(self.prompts)}

    def encode(self, prompts: Sequence[str]) -> Condition:
        if unknown := [prompt for prompt in prompts if prompt not in self._index]:
            raise ConfigError(f"prompt {unknown[0]!r}: the model knows {some_of(self.prompts)}")
        return {"prompt": torch.tensor([self._index[prompt] for prompt in prompts], dtype=torch.long)}

    def prepare(self, prompts: Sequence[str]) -> bool:
        """There is nothing to do but to know them. Raises ConfigError."""
        self.encode(prompts)
        return True


class NoCodec:
    """For models whose states are the data themselves."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.state_shape = tuple(shape)

    def encode(self, data: Tensor) -> Tensor:
        return data

    def decode(self, state: Tensor) -> Tensor:
        return state


class Model:
    """A network with all that is needed to train and sample it.

    Args:
        network: what is trained: its parameters with `requires_grad`.
        prompts: those it knows, for a `PromptTable`; or `conditioner` in their place.
        shape: of one datum, where states are the data themselves; or `codec` in its place.
        make_map: from the network, or from an engine around it, to its flow map; `TwoTimeMap` unless
            the network knows one time only.
        adapters: of the network, where they alone are trained.
        shift: of the times at which it is drawn where no grid is given, for `even_grid`.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        prompts: Sequence[str] = (),
        shape: Sequence[int] = (),
        conditioner: Conditioner | None = None,
        codec: Codec | None = None,
        make_map: MakeMap = TwoTimeMap,
        adapters: Adapters | None = None,
        shift: float = 1.0,
    ) -> None:
        self.network, self.shift = network, shift
        self.conditioner = conditioner or PromptTable(prompts)
        self.codec = codec or NoCodec(shape)
        self.make_map, self.adapters = make_map, adapters
        self._reference: FlowMap | None = None

    @property
    def flow_map(self) -> FlowMap:
        """The map of the plain network."""
        return self.make_map(self.network)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.network.parameters()).device

    def parameters(self) -> Iterator[nn.Parameter]:
        """What training changes."""
        return (parameter for parameter in self.network.parameters() if parameter.requires_grad)

    def condition(self, prompts: Sequence[str]) -> Condition:
        """The condition of prompts, on the network's device."""
        return {name: leaf.to(self.device) for name, leaf in self.conditioner.encode(prompts).items()}

    def prepare(self, prompts: Sequence[str]) -> bool:
        """Get ready for prompts that are to be asked for; returns whether it could be for all of them.

        Raises ConfigError for one that the model does not know, where its conditioner can say.
        """
        return self.conditioner.prepare(prompts) if isinstance(self.conditioner, Preparing) else True

    def freeze_reference(self) -> None:
        """Make the network as it is now the reference, whatever training makes of it: keep a frozen copy.

        Of a network with adapters it is the network without them, and there is nothing to keep.
        """
        if self.adapters is not None:
            return
        self._reference = self.make_map(copy.deepcopy(self.network).eval().requires_grad_(False))

    @contextlib.contextmanager
    def reference(self) -> Iterator[FlowMap]:
        """The map that `freeze_reference` was called on, for the time of the block.

        A model that trains adapters turns them off for as long.
        """
        if self.adapters is not None:
            with self.adapters.off():
                yield self.make_map(self.network)
            return
        assert self._reference is not None, "freeze_reference comes first"
        yield self._reference

    def weights_of(self, network: nn.Module) -> dict[str, Tensor]:
        """The weights of the network, or of a copy of it such as its average, as a plain network's."""
        return network.state_dict() if self.adapters is None else self.adapters.merged(network)

    @torch.no_grad()
    def sample(self, prompts: Sequence[str], noise: Tensor, grid: Sequence[float]) -> Tensor:
        """Data drawn deterministically, (batch, *data): one prompt and one state of noise each, times from 1
        to 0."""
        state = compose(self.flow_map, noise.to(self.device), self.condition(prompts), grid)
        return self.codec.decode(state)
