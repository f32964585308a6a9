"""What the curve of a training says about it while it runs, and which rollout was its best.

    for name, message in warnings(section, curve).items(): ...      # after any rollout
    if is_over(section, curve): ...                                 # `stop_after`

Functions of the curve alone, so that every process, and one that goes on from a checkpoint, comes to the
same.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from flowmap.settings import GrpoFinetuning

Row = Mapping[str, float]
LOOK = 10  # rollouts that a warning looks back on
_SMOOTHED = 5  # rollouts that a reward is the mean of, where the best is looked for
_STILL = 1e-5  # nats
_RUNAWAY = 3.0  # times its target
_MANY = 0.5  # of ratios that are clipped, or of groups that are all alike
_UNHEARD = 0.1
_SURE = 3.0  # standard errors


def total_reward(section: GrpoFinetuning, row: Row) -> float:
    """The weighted sum of the rewards' means."""
    return sum(each.weight * row[f"reward_{each.label}"] for each in section.rewards)


def best_rollout(section: GrpoFinetuning, curve: Sequence[Row]) -> int:
    """The number of the rollout at which the total reward, as the mean of the last five, was highest.

    Nothing is that before there have been five.
    """
    smoothed = [
        statistics.fmean(total_reward(section, row) for row in curve[end - _SMOOTHED : end])
        for end in range(_SMOOTHED, len(curve) + 1)
    ]
    return smoothed.index(max(smoothed)) + _SMOOTHED if smoothed else 0


def is_over(section: GrpoFinetuning, curve: Sequence[Row]) -> bool:
    """Whether the last `stop_after` rollouts brought no better total reward than there was before them."""
    if section.stop_after is None or len(curve) < _SMOOTHED:
        return False
    return len(curve) - best_rollout(section, curve) >= section.stop_after


def warnings(section: GrpoFinetuning, curve: Sequence[Row]) -> dict[str, str]:
    """What is wrong with the last ten rollouts, by a word for each kind; empty before there are ten."""
    if len(curve) < LOOK:
        return {}
    recent, told = curve[-LOOK:], {}

    def average(name: str) -> float:
        return statistics.fmean(row[name] for row in recent)

    if max(row["kl"] for row in recent) < _STILL:
        told["still"] = (
            f"the policy hardly moves: {average('kl'):.1g} nats in ten rollouts. Raise "
            f"grpo_finetuning.learning_rate (it is {section.learning_rate:g})"
        )
    transitions = [name for name in recent[0] if name.startswith("kl_") and name[3:].isdigit()]
    for name in transitions:
        if section.kl_target and min(row[name] for row in recent) > _RUNAWAY * section.kl_target:
            told["runaway"] = (
                f"transition {name[3:]} is {average(name):.2g} nats from the base, three times "
                f"grpo_finetuning.kl_target ({section.kl_target:g}) and more: halve "
                f"grpo_finetuning.learning_rate (it is {section.learning_rate:g})"
            )
    if average("clipped") > _MANY:
        told["clipped"] = (
            f"{average('clipped'):.0%} of the ratios are clipped: halve grpo_finetuning.learning_rate "
            f"(it is {section.learning_rate:g}), or take fewer updates_per_rollout"
        )
    if average("zero_std_fraction") > _MANY:
        told["alike"] = (
            f"in {average('zero_std_fraction'):.0%} of the groups all members get the same reward: nothing "
            "can be learnt from those. Raise grpo_finetuning.group_size, or take a reward with finer steps"
        )
    for each in section.rewards:
        found = average(f"correlation_{each.label}")
        if len(section.rewards) > 1 and abs(found) < _UNHEARD:
            told[f"unheard {each.label}"] = (
                f"reward {each.label} has no say: its correlation with the advantage is {found:.2f}. Raise "
                f"its weight (it is {each.weight:g}), or leave it out"
            )
    if falling := _fallen(section, curve):
        told["falling"] = falling
    return told


def _fallen(section: GrpoFinetuning, curve: Sequence[Row]) -> str | None:
    if len(curve) < 2 * LOOK:
        return None
    first, last = ([total_reward(section, row) for row in part] for part in (curve[:LOOK], curve[-LOOK:]))
    rise = statistics.fmean(last) - statistics.fmean(first)
    error = ((statistics.variance(first) + statistics.variance(last)) / LOOK) ** 0.5
    if rise >= -_SURE * error:
        return None
    return (
        f"the total reward fell by {-rise:.3g}, {_SURE:.0f} times what chance explains: halve "
        f"grpo_finetuning.learning_rate (it is {section.learning_rate:g})"
    )
