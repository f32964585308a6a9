"""What GRPO asks of a reward, and what it is asked about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from flowmap.errors import InvariantError

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
    """Scores whole groups, so that a reward may compare the members of a group with each other.

    One that does not compute on the device that draws may say so by an attribute `elsewhere = True`: it is
    asked about groups as they come, in another thread, while others are drawn.
    """

    @property
    def name(self) -> str:
        """In curves and messages."""

    def score(self, samples: Samples) -> Tensor:
        """The reward of each sample, shape (groups, members).

        NaN is no verdict: that member leaves its group. Whoever wants no graph asks under `torch.no_grad`; a
        reward that can be differentiated leaves it to them.
        """


@runtime_checkable
class Explaining(Protocol):
    """A reward that can say what of a prompt is there."""

    def met(self, samples: Samples) -> Sequence[Sequence[Mapping[str, bool]]]:
        """What is asked of each sample in words, and whether it is there, by groups and members."""


@dataclass(frozen=True)
class Weighted:
    """A reward and its weight in the sum."""

    reward: Reward
    weight: float = 1.0


class FunctionReward:
    """A plain function as a reward; what it gives may be anything that becomes a tensor of (groups,
    members)."""

    def __init__(self, function: Callable[[Samples], Any], name: str | None = None) -> None:
        self.function = function
        self.name = name or str(getattr(function, "__name__", "reward"))

    def score(self, samples: Samples) -> Tensor:
        """Raises InvariantError when the function gives another shape."""
        import torch

        with torch.no_grad():
            scores = torch.as_tensor(self.function(samples), dtype=torch.float32, device=samples.data.device)
        if scores.shape != samples.data.shape[:2]:
            raise InvariantError(
                f"reward {self.name} gave shape {tuple(scores.shape)} for {tuple(samples.data.shape[:2])} "
                "samples (groups, members)"
            )
        return scores.detach()


def weighted(reward: Reward | Weighted | Callable[[Samples], Any]) -> Weighted:
    """A reward with its weight: 1 for a bare one; a plain function becomes a reward."""
    if isinstance(reward, Weighted):
        return reward
    if hasattr(reward, "score"):
        return Weighted(cast("Reward", reward))
    return Weighted(FunctionReward(reward))
