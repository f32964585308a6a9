"""Intervals that cover what they say, however small the level; what they are of is known exactly."""

import numpy as np
import pytest
from scipy import stats

from flowmap.evaluation.distances import frechet_distance, kernel_distance
from flowmap.evaluation.intervals import (
    distance_intervals,
    ratio_interval,
    share_interval,
    stratified_interval,
)
from flowmap.evaluation.moments import Moments
from tests.evaluation.samples import normal

PROMPT = np.repeat(np.arange(20), 30)


@pytest.mark.parametrize("level", [0.025, 0.25])
def test_an_interval_misses_the_true_difference_as_often_as_its_level_says(level: float) -> None:
    """Prompts are strata: that they differ widens nothing."""
    random, below, above, trials = np.random.default_rng(0), 0, 0, 2000
    by_prompt = random.normal(0.2, 3.0, 20)
    for _ in range(trials):
        found = stratified_interval(by_prompt[PROMPT] + random.normal(0, 0.5, len(PROMPT)), PROMPT, level)
        below += found["low"] > by_prompt.mean()
        above += found["high"] < by_prompt.mean()
    expected = stats.binom.interval(0.999, trials, level)
    assert expected[0] <= below <= expected[1]
    assert expected[0] <= above <= expected[1]


def test_a_smaller_level_reaches_further() -> None:
    values = np.random.default_rng(0).normal(0, 1, len(PROMPT))
    lows = [stratified_interval(values, PROMPT, level)["low"] for level in (0.025, 1e-4, 1e-7)]
    assert lows == sorted(lows, reverse=True)
    assert stratified_interval(np.zeros(len(PROMPT)), PROMPT, 1e-7) == {"mean": 0, "low": 0, "high": 0}


def test_the_interval_of_a_share_is_paired_over_real_data() -> None:
    old = np.arange(200) % 10 > 0
    new = old.copy()
    assert share_interval(old, new) == {"mean": 0, "low": 0, "high": 0}
    new[:20] = False
    found = share_interval(old, new)
    assert found["mean"] == pytest.approx(-0.09)
    assert found["high"] < 0


def moments(x: np.ndarray, num_folds: int) -> Moments:
    """Of one prompt."""
    folds = [x[fold::num_folds] for fold in range(num_folds)]
    return Moments(
        num=np.array([[len(part)] for part in folds], dtype=float),
        squares=np.array([[np.square(part).sum()] for part in folds]),
        total=np.array([[part.sum(0)] for part in folds]),
    )


def test_a_spread_is_within_prompts_alone() -> None:
    one, other = normal(40, 3, 0), normal(60, 3, 1) + 10
    parts = [moments(x, 20) for x in (one, other)]
    names = ("num", "squares", "total")
    both = Moments(*(np.concatenate([getattr(part, name) for part in parts], 1) for name in names))
    deviations = np.concatenate([one - one.mean(0), other - other.mean(0)])
    assert both.spread() == pytest.approx(np.sqrt(np.square(deviations).sum() / (40 + 60 - 2) / 3))
    twice = both.spread(np.full(20, 2.0))
    assert twice == pytest.approx(np.sqrt(2 * np.square(deviations).sum() / (2 * 100 - 2) / 3))
    assert moments(one[:1], 20).spread() == 0


def test_the_ratio_of_spreads_and_its_interval() -> None:
    old, new = normal(2000, 3, 0), normal(2000, 3, 1, scale=0.8)
    found = ratio_interval(moments(old, 20), moments(new, 20), 300, seed=0)
    rms = [np.sqrt(np.var(each, axis=0).mean()) for each in (new, old)]
    assert found["mean"] == pytest.approx(rms[0] / rms[1])
    assert found["low"] < 0.8 < found["high"]
    assert 0.01 < found["high"] - found["low"] < 0.1


def test_the_interval_of_a_change_holds_what_the_distances_say() -> None:
    real, old = normal(200, 4, 0), normal(400, 4, 1, mean=0.3)
    prompt = np.repeat(np.arange(4), 100)
    new = old + 0.2
    found = distance_intervals(old, new, real, prompt, 100, seed=3)
    assert found["kid_judge"]["mean"] == pytest.approx(
        kernel_distance(new, real) - kernel_distance(old, real)
    )
    ratio = frechet_distance(new, real) / frechet_distance(old, real)
    assert found["fd_judge"]["mean"] == pytest.approx(ratio)
    assert found["fd_judge"]["low"] > 1
    for each in found.values():
        assert each["low"] < each["mean"] < each["high"]
    same = distance_intervals(old, old, real, prompt, 50, seed=3)
    assert same["kid_judge"] == {"mean": 0, "low": 0, "high": 0}
    assert same["fd_judge"] == {"mean": 1, "low": 1, "high": 1}


def test_the_interval_of_a_distance_lies_about_the_figure_though_resampling_adds_to_all_of_them() -> None:
    """A Frechet distance of resampled features is too large, for they repeat each other."""
    real = normal(100, 16, 0)
    old, new = normal(100, 16, 1), normal(100, 16, 2, mean=0.5)
    found = distance_intervals(old, new, real, np.zeros(100, dtype=np.int64), 200, seed=0)["fd_judge"]
    assert found["low"] < found["mean"] < found["high"]
    assert (found["high"] - found["mean"]) < 3 * (found["mean"] - found["low"])


def test_a_sample_that_is_not_finite_leaves_nothing_to_say() -> None:
    real, old = normal(50, 2, 0), normal(50, 2, 1)
    new = old.copy()
    new[3] = np.inf
    found = distance_intervals(old, new, real, np.zeros(50, dtype=np.int64), 10, seed=0)
    assert all(np.isnan(value) for each in found.values() for value in each.values())
