"""What rewards said of a rollout, as figures for curves; and the end of a run whose rewards say nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flowmap.errors import RewardError
from flowmap.grpo.advantages import Advantages
from flowmap.progress import say
from flowmap.rewards.protocol import Weighted
from flowmap.training.engine import Engine


@dataclass(frozen=True)
class Scores:
    """Each reward's name and its verdicts, (groups, members); NaN is none."""

    names: Sequence[str]
    values: Sequence[Tensor]


def score_figures(
    index: int, scores: Scores, found: Advantages, max_unscored: float, engine: Engine
) -> dict[str, float]:
    """`reward_<name>`, `spread_<name>` and `correlation_<name>` of each reward, and `unscored`, over all
    processes.

    The mean is over all verdicts; the spread is the standard deviation within a group, averaged over groups;
    the correlation is with the advantage, within groups: what the sum made of this reward.

    Raises:
        RewardError: more than a share of `max_unscored` of the samples have no verdict.
    """
    figures: dict[str, float] = {}
    for name, value in zip(scores.names, scores.values, strict=True):
        figures |= {f"{figure}_{name}": number for figure, number in _of_one(value, found, engine).items()}
    figures["unscored"] = _check_scored(index, scores, max_unscored, engine)
    return figures


def nothing_to_buy(rewards: Sequence[Weighted], figures: Mapping[str, float]) -> str | None:
    """What to tell people when the base's samples get as much of every reward as real data do.

    None where one of them has something left to pay for, or may have: a reward says in `real_reward` what
    real data get, or None where that is no bound, as for a distance from them.

    Args:
        figures: of the first rollout, before anything was trained.
    """
    if not all(hasattr(each.reward, "real_reward") for each in rewards):
        return None
    reals = {each.reward.name: getattr(each.reward, "real_reward", None) for each in rewards}
    known = {name: real for name, real in reals.items() if real is not None}
    if not known or any(figures[f"reward_{name}"] < real for name, real in known.items()):
        return None
    told = ", ".join(
        f"{name} {figures[f'reward_{name}']:.3f}, real data {real:.3f}" for name, real in known.items()
    )
    return (
        f"the base's samples get as much reward as real data do already ({told}): there is little to buy "
        "with it, and the gate counts no more than what real data get"
    )


def _of_one(value: Tensor, found: Advantages, engine: Engine) -> dict[str, float]:
    scored, told = value.isfinite(), torch.where(value.isfinite(), value, 0.0).double()
    within = told - told.sum(1, keepdim=True) / scored.sum(1, keepdim=True).clamp(min=1)
    squares, degrees = (within.square() * scored).sum(1), (scored.sum(1) - 1).clamp(min=1)
    a, b = within[found.counted], found.values[found.counted].double()
    sums = torch.stack(
        [
            told.sum(),
            scored.sum().double(),
            (squares / degrees).sqrt().sum(),
            torch.tensor(float(len(value)), dtype=torch.double, device=value.device),
            found.counted.sum().double(),
            a.sum(),
            b.sum(),
            a.square().sum(),
            b.square().sum(),
            (a * b).sum(),
        ]
    )
    total, count, spread, groups, n, sum_a, sum_b, squared_a, squared_b, product = engine.sum(sums).tolist()
    variance = (n * squared_a - sum_a**2) * (n * squared_b - sum_b**2)
    return {
        "reward": total / max(count, 1),
        "spread": spread / groups,
        "correlation": (n * product - sum_a * sum_b) / variance**0.5 if variance > 0 else 0.0,
    }


def _check_scored(index: int, scores: Scores, max_unscored: float, engine: Engine) -> float:
    """The share of samples that some reward has no verdict on."""
    missing = torch.stack([~value.isfinite() for value in scores.values])
    num = torch.full((), missing[0].numel(), device=missing.device)
    counts = torch.stack([missing.any(0).sum(), num, *missing.flatten(1).sum(1)])
    without, of, *each = engine.sum(counts).tolist()
    if without:
        names = ", ".join(f"{name} {count}" for name, count in zip(scores.names, each, strict=True) if count)
        told = f"rollout {index + 1}: {without} of {of} samples have no verdict ({names})"
        if without > max_unscored * of:
            raise RewardError(f"{told}; grpo_finetuning.max_unscored allows a share of {max_unscored:g}")
        if engine.rank == 0:
            say(f"grpo_finetuning: {told}; they leave their groups")
    return float(without / of)
