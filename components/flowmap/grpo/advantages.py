"""Group-relative advantages, of one reward or of several: GRPO (arXiv 2402.03300).

Rewards and advantages have shape (groups, members). NaN is no verdict: that member leaves its group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flowmap.errors import InvariantError

_STD_FLOOR = 1e-4
_EQUAL = 1e-6
_MAX_SUM = 1e-3
_FEWEST = 2


@dataclass(frozen=True)
class Advantages:
    """Each member's part in the update.

    Attributes:
        values: (groups, members); each row adds up to zero, and who has no part has zero.
        counted: (groups, members), False for a member without a verdict and in a group that is not alive.
        alive: (groups,), False where all rewards are equal or fewer than two members have a verdict.
    """

    values: Tensor
    counted: Tensor
    alive: Tensor


def normalise(rewards: Tensor) -> Tensor:
    """(R - mean) / (std + 1e-4) within each group, over those that have a verdict; NaN where there is
    none."""
    return (rewards - _mean(rewards)) / (_std(rewards) + _STD_FLOOR)


def mix(rewards: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Several rewards as one: each normalised within its group, then weighed and added.

    A member that one of them has no verdict on has none.
    """
    scored = torch.stack(list(rewards)).isfinite().all(0)
    told = [torch.where(scored, reward, torch.nan) for reward in rewards]
    return torch.stack([weight * normalise(r) for r, weight in zip(told, weights, strict=True)]).sum(0)


def advantages(rewards: Tensor) -> Advantages:
    """Group-relative advantages.

    Raises:
        InvariantError: a reward is infinite or carries a graph, or a group's advantages do not add up to
            zero.
    """
    check(rewards, "the reward")
    scored = rewards.isfinite()
    size = torch.where(scored, rewards, 0.0).abs().sum(1) / scored.sum(1).clamp(min=1)
    alive = (scored.sum(1) >= _FEWEST) & (_std(rewards)[:, 0] > _EQUAL * (1 + size))
    counted = scored & alive[:, None]
    values = torch.where(counted, normalise(rewards), 0.0)
    if float(values.sum(1).abs().max()) > _MAX_SUM:
        raise InvariantError(
            f"the advantages of a group add up to {float(values.sum(1).abs().max()):.2g} instead of 0: the "
            f"rewards' size ({float(size.max()):.2g}) leaves their differences no digits; rescale the reward"
        )
    return Advantages(values, counted, alive)


def check(rewards: Tensor, who: str) -> None:
    """Raise InvariantError for rewards that carry a graph or are infinite."""
    if rewards.requires_grad:
        raise InvariantError(f"{who} carries a graph: rewards are scored without gradients")
    if bool(rewards.isinf().any()):
        bad = rewards.isinf().any(1).nonzero()[:, 0].tolist()
        raise InvariantError(f"{who} is infinite in {len(bad)} of {len(rewards)} groups (first {bad[:5]})")


def _mean(rewards: Tensor) -> Tensor:
    """(groups, 1), over those with a verdict."""
    scored = rewards.isfinite()
    some = torch.where(scored, rewards, 0.0).sum(1, keepdim=True) / scored.sum(1, keepdim=True).clamp(min=1)
    return torch.where(scored.all(1, keepdim=True), rewards.mean(1, keepdim=True), some)


def _std(rewards: Tensor) -> Tensor:
    """(groups, 1), over those with a verdict."""
    scored = rewards.isfinite()
    squares = torch.where(scored, rewards - _mean(rewards), 0.0).square().sum(1, keepdim=True)
    some = (squares / (scored.sum(1, keepdim=True) - 1).clamp(min=1)).sqrt()
    return torch.where(scored.all(1, keepdim=True), rewards.std(1, keepdim=True), some)
