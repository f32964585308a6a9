"""What GRPO asks of a reward."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Reward(Protocol):
    """Scores whole groups, so that a reward may compare the members of a group with each other."""

    def __call__(self, x: Tensor, prompt: Tensor) -> Tensor:
        """The reward of each sample, without a graph.

        Args:
            x: samples, shape (groups, members, *data).
            prompt: each group's prompt, shape (groups,).

        Returns:
            Shape (groups, members).
        """
