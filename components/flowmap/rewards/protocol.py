"""What GRPO asks of a reward, and what it is asked about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Prompt:
    """A prompt, and what it demands, such as `{"colour": "red"}`: for rewards that check it."""

    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Samples:
    """The samples of one rollout as data, decoded, in groups of one prompt each.

    Attributes:
        data: shape (groups, members, *data); images are in about [-1, 1].
        prompts: each group's prompt.
        facts: what each group's prompt demands; empty where nothing is said.
    """

    data: Tensor
    prompts: Sequence[str]
    facts: Sequence[Mapping[str, Any]] = field(default=())

    def __post_init__(self) -> None:
        if not self.facts:
            object.__setattr__(self, "facts", tuple({} for _ in self.prompts))


class Reward(Protocol):
    """Scores whole groups, so that a reward may compare the members of a group with each other."""

    @property
    def name(self) -> str:
        """In curves and messages."""

    def score(self, samples: Samples) -> Tensor:
        """The reward of each sample, without a graph, shape (groups, members).

        NaN is no verdict: that member leaves its group.
        """


@dataclass(frozen=True)
class Weighted:
    """A reward and its weight in the sum."""

    reward: Reward
    weight: float = 1.0
