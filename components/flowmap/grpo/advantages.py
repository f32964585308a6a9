"""Group-relative advantages, of one reward or of several: GRPO (arXiv 2402.03300).

Rewards and advantages have shape (groups, members). NaN is no verdict: that member leaves its group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

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


def advantages(
    rewards: Sequence[Tensor],
    weights: Sequence[float],
    std: Literal["group", "batch", "none"] = "group",
    total: Callable[[Tensor], Tensor] = lambda value: value,
) -> Advantages:
    """Group-relative advantages of several rewards: each centred in its group, scaled, weighed, added.

    Weights count against each other: their squares are taken to add up to one, so that advantages are of
    one size whatever the weights'. Whether a group is alive the rewards decide as they are: those that
    differ in the last digit alone are equal, and a reward adds nothing to a group in which it is equal. A
    member that one of the rewards has no verdict on has no part.

    Args:
        rewards: each (groups, members).
        weights: one each.
        std: what a reward is divided by: its standard deviation within the group, over all groups, or
            nothing.
        total: sums over processes, where groups are several processes'.

    Raises:
        InvariantError: a reward is infinite or carries a graph, or a group's advantages do not add up to
            zero.
    """
    for reward in rewards:
        check(reward, "the reward")
    scored = torch.stack(list(rewards)).isfinite().all(0)
    told = [torch.where(scored, reward, torch.nan) for reward in rewards]
    alive_in = [_differ(reward) for reward in told]
    alive = torch.stack(alive_in).any(0)
    counted = scored & alive[:, None]
    size = sum(weight**2 for weight in weights) ** 0.5 or 1.0
    values = torch.zeros_like(told[0])
    for reward, weight, is_alive in zip(told, weights, alive_in, strict=True):
        part = scored & is_alive[:, None]
        values = values + torch.where(part, weight / size * _scaled(reward, part, std, total), 0.0)
    if float(values.sum(1).abs().max()) > _MAX_SUM:
        raise InvariantError(
            f"the advantages of a group add up to {float(values.sum(1).abs().max()):.2g} instead of 0: the "
            f"rewards' size ({max(float(_size(reward).max()) for reward in told):.2g}) leaves their "
            "differences no digits; rescale the reward"
        )
    return Advantages(values, counted, alive)


def _scaled(
    rewards: Tensor,
    part: Tensor,
    std: Literal["group", "batch", "none"],
    total: Callable[[Tensor], Tensor],
) -> Tensor:
    """(R - mean of the group) / (std + 1e-4), over those that have a verdict; NaN where there is none."""
    centred = rewards - _mean(rewards)
    if std == "none":
        return centred
    if std == "group":
        return centred / (_std(rewards) + _STD_FLOOR)
    squares = torch.where(part, centred, 0.0).square().sum()
    spread: Tensor = (total(squares) / total(part.sum().to(squares)).clamp(min=1)).sqrt()
    return centred / (spread + _STD_FLOOR)


def _differ(rewards: Tensor) -> Tensor:
    """Whether the members of a group have different rewards, by more than rounding, shape (groups,)."""
    enough = rewards.isfinite().sum(1) >= _FEWEST
    return enough & (_std(rewards)[:, 0] > _EQUAL * (1 + _size(rewards)))


def _size(rewards: Tensor) -> Tensor:
    """The mean of a group's absolute rewards, over those with a verdict, shape (groups,)."""
    scored = rewards.isfinite()
    return torch.where(scored, rewards, 0.0).abs().sum(1) / scored.sum(1).clamp(min=1)


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
