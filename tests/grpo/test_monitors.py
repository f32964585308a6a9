"""What a training is told about itself, and when it ends: each warning fires on its own trouble alone."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from flowmap.grpo.monitors import LOOK, best_rollout, is_over, warnings
from flowmap.settings import GrpoFinetuning

REWARDS = [{"kind": "preference"}, {"kind": "mmd", "weight": 2.0}]
SECTION = GrpoFinetuning.model_validate({"rewards": REWARDS, "stop_after": 8})
Row = dict[str, float]


def curve(num: int = 30, change: Callable[[int, Row], Any] = lambda index, row: None) -> list[Row]:
    """A healthy one: rewards rise a little, the KL is on its way to the target."""
    noise, rows = random.Random(0), []
    for index in range(num):
        row = {
            "reward_preference": 0.01 * index + noise.gauss(0, 0.02),
            "reward_mmd": 0.1,
            "correlation_preference": 0.8,
            "correlation_mmd": 0.5,
            "kl": 0.01 * index,
            "kl_0": 0.01 * index,
            "kl_weight_0": 9.0,
            "clipped": 0.1,
            "zero_std_fraction": 0.0,
        }
        change(index, row)
        rows.append(row)
    return rows


def changed(**figures: float) -> Callable[[int, Row], Any]:
    return lambda index, row: row.update(figures)


def test_a_healthy_curve_is_warned_of_nothing_whenever_it_is_looked_at() -> None:
    whole = curve()
    assert all(not warnings(SECTION, whole[:end]) for end in range(len(whole) + 1))


@pytest.mark.parametrize(
    ("change", "name", "says"),
    [
        (
            changed(kl=3e-6, kl_0=3e-6),
            "still",
            "3e-06 nats in ten rollouts. Raise grpo_finetuning.learning_rate",
        ),
        (changed(kl_0=2.0), "runaway", "transition 0 is 2 nats from the base"),
        (changed(clipped=0.84), "clipped", "84% of the ratios are clipped: halve"),
        (changed(zero_std_fraction=0.7), "alike", "in 70% of the groups all members get the same reward"),
        (changed(correlation_mmd=-0.02), "unheard mmd", "reward mmd has no say"),
        (
            lambda index, row: row.update(reward_preference=-0.05 * index),
            "falling",
            "the total reward fell by 1",
        ),
    ],
)
def test_each_trouble_is_told_alone_with_what_to_do(
    change: Callable[[int, Row], Any], name: str, says: str
) -> None:
    told = warnings(SECTION, curve(change=change))
    assert set(told) == {name}
    assert says in told[name]


def test_ten_rollouts_have_to_show_it() -> None:
    assert not warnings(SECTION, curve(LOOK - 1, changed(clipped=0.9)))
    assert warnings(SECTION, curve(LOOK, changed(clipped=0.9)))
    assert not warnings(SECTION, curve(30, lambda index, row: row.update(kl_0=2.0 * (index != 25))))


def test_the_best_is_that_of_the_total_reward_smoothed() -> None:
    def peak(index: int, row: Row) -> None:
        row["reward_preference"] = -abs(index - 12) + 10.0 * (index == 5)  # a lucky rollout is no peak
        row["reward_mmd"] = 0.0

    rows = curve(24, peak)
    assert best_rollout(SECTION, rows) == 15  # rows 11 to 15, numbered from 1, are centred on the peak at 13
    ends = [end for end in range(len(rows) + 1) if is_over(SECTION, rows[:end])]
    assert ends[0] == 15 + 8
    assert not is_over(SECTION.model_copy(update={"stop_after": None}), rows)


def test_the_weight_counts() -> None:
    def opposed(index: int, row: Row) -> None:
        row["reward_preference"], row["reward_mmd"] = float(index), -0.6 * index

    assert best_rollout(SECTION, curve(20, opposed)) == 5  # the sum falls: mmd has weight 2
