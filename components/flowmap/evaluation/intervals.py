"""Intervals of what a change of the model does, on pairs of samples that began from the same noise.

Prompts are strata, not a sample: a model is asked for these prompts and no others. Every interval is a
dictionary with `mean` (what the samples themselves say), `low` and `high`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from flowmap.evaluation.distances import Array, Frechet, Kernels
from flowmap.evaluation.moments import Moments

Interval = dict[str, float]
LEVEL = 0.025  # one end of a 95 % interval
UNKNOWN: Interval = dict.fromkeys(("mean", "low", "high"), np.nan)


def stratified_interval(difference: Array, prompt: NDArray[np.int64], level: float = LEVEL) -> Interval:
    """The mean over prompts of their mean difference, and where it lies but for `level` on either side.

    Student's interval rather than a bootstrap: a level spent over hundreds of candidates lies far beyond
    the quantiles that resampling can show.

    Args:
        difference: one value for each pair, (N,).
        prompt: of each pair, (N,).
    """
    strata = [difference[prompt == each] for each in np.unique(prompt)]
    means = np.array([stratum.mean() for stratum in strata])
    variances = [stratum.var(ddof=1) / len(stratum) for stratum in strata]
    error = np.sqrt(np.sum(variances)) / len(strata)
    reach = float(stats.t.isf(level, len(difference) - len(strata)) * error)
    return _around(float(means.mean()), -reach, reach)


def share_interval(old: NDArray[np.bool_], new: NDArray[np.bool_], level: float = LEVEL) -> Interval:
    """The change of a share of the real data, such as recall: `old` and `new` tell of each datum, (M,)."""
    return stratified_interval(new.astype(np.float64) - old, np.zeros(len(old), dtype=np.int64), level)


def ratio_interval(
    old: Moments, new: Moments, num_resamples: int, seed: int, level: float = LEVEL
) -> Interval:
    """The ratio of two spreads, by a bootstrap over folds of the samples, the same folds of both; NaN where
    the old one is 0."""
    random = np.random.default_rng(seed)
    num_folds = len(old.num)

    def ratio(weight: Array) -> float:
        below = old.spread(weight)
        return new.spread(weight) / below if below else np.nan

    weights = random.multinomial(num_folds, np.full(num_folds, 1 / num_folds), num_resamples).astype(float)
    return _bootstrap(ratio(np.ones(num_folds)), np.array([ratio(weight) for weight in weights]), level)


def distance_intervals(
    old: Array, new: Array, real: Array, prompt: NDArray[np.int64], num_resamples: int, seed: int
) -> dict[str, Interval]:
    """What a change of the model does to the distances to real data, by a bootstrap over pairs.

    A resample takes the same pairs of both, prompt by prompt.

    Args:
        old, new: features of samples, (N, dims), row i of both from the same noise.
        real: of real data, (M, dims).
        prompt: of each pair, (N,).

    Returns:
        `kid_judge`, the difference of the kernel distances, and `fd_judge`, the ratio of the Frechet
        distances; NaN where a sample is not finite.
    """
    if not (np.isfinite(old).all() and np.isfinite(new).all()):
        return {"kid_judge": UNKNOWN, "fd_judge": UNKNOWN}
    random = np.random.default_rng(seed)
    strata = [np.flatnonzero(prompt == each) for each in np.unique(prompt)]
    kernels, frechet = (Kernels.of(old, real), Kernels.of(new, real)), Frechet.of(real)

    def both(chosen: NDArray[np.int64]) -> tuple[float, float]:
        weight = np.bincount(chosen, minlength=len(old)).astype(np.float64)
        kid_old, kid_new = (each.distance(weight) for each in kernels)
        ratio = frechet.distance(new[chosen]) / frechet.distance(old[chosen])
        return kid_new - kid_old, ratio

    itself = both(np.arange(len(old)))
    drawn = [
        both(np.concatenate([random.choice(stratum, len(stratum)) for stratum in strata]))
        for _ in range(num_resamples)
    ]
    kid, ratio = (_bootstrap(itself[i], np.array([each[i] for each in drawn]), LEVEL) for i in (0, 1))
    return {"kid_judge": kid, "fd_judge": ratio}


def _bootstrap(itself: float, drawn: Array, level: float) -> Interval:
    """The resamples' quantiles about the figure itself: what resampling adds to all of them, such as a
    Frechet distance's bias, is taken off."""
    low, high = np.quantile(drawn, [level, 1 - level]) - drawn.mean()
    return _around(itself, float(low), float(high))


def _around(mean: float, low: float, high: float) -> Interval:
    return {"mean": mean, "low": mean + low, "high": mean + high}
