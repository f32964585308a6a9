"""Distances between sets of samples, and paired differences.

Features are (N, dims) float64. Frechet distance and KID are named after the judge, `fd_judge` and
`kid_judge`: FID is the name for features of Inception.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

Array = NDArray[np.float64]
_NEIGHBOURS = 5


def frechet_distance(x: Array, y: Array) -> float:
    """||mu_x - mu_y||^2 + tr(C_x + C_y - 2 (C_x C_y)^1/2), the root's trace through eigenvalues.

    Source: Heusel et al. (arXiv 1706.08500), equation 6.
    """
    cov_x, cov_y = np.cov(x.T), np.cov(y.T)
    roots = np.sqrt(np.clip(np.linalg.eigvals(cov_x @ cov_y).real, 0, None))
    distance = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(cov_x) + np.trace(cov_y) - 2 * roots.sum()
    return float(distance)


def kernel_distance(x: Array, y: Array) -> float:
    """KID: unbiased squared MMD with the kernel (x.y / dims + 1)^3, at a scale where y has mean square 1.

    The kernel is cubic, so without the scale a judge with large features would make it all noise.

    Source: Binkowski et al. (arXiv 1801.01401).
    """
    return _kernels(x, y).distance(np.ones(len(x)))


@dataclass(frozen=True)
class _Kernels:
    """KID's kernel among samples, among real data, and across; a bootstrap weighs the samples anew."""

    among: Array
    real: Array
    across: Array

    def distance(self, weight: Array) -> float:
        """KID where sample i counts `weight[i]` times; a sample never counts as a pair with itself."""
        num, num_real = weight.sum(), len(self.real)
        pairs = weight @ self.among @ weight - np.square(weight) @ np.diag(self.among)
        within = pairs / (num**2 - np.square(weight).sum())
        within_real = (self.real.sum() - np.trace(self.real)) / (num_real * (num_real - 1))
        return float(within + within_real - 2 * (weight @ self.across).sum() / (num * num_real))


def _kernels(x: Array, y: Array) -> _Kernels:
    size = np.sqrt(np.square(y).mean())
    x, y = x / size, y / size

    def kernel(a: Array, b: Array) -> Array:
        cubed: Array = (a @ b.T / a.shape[1] + 1) ** 3
        return cubed

    return _Kernels(kernel(x, x), kernel(y, y), kernel(x, y))


def distance_intervals(
    old: Array, new: Array, real: Array, prompt: NDArray[np.int64], num_resamples: int, seed: int
) -> dict[str, dict[str, float]]:
    """What a change of the model does to the distances to real data, with 95 % bootstrap intervals.

    Samples are paired, by prompt and start noise, and a resample takes the same pairs of both, prompt by
    prompt: prompts are strata.

    Args:
        old, new: features of samples, (N, dims), row i of both from the same noise.
        real: of real data, (M, dims).
        prompt: of each pair, (N,).

    Returns:
        `kid_judge`, the difference of the kernel distances, and `fd_judge`, the ratio of the Frechet
        distances; each as mean (of the samples themselves), low and high.
    """
    random = np.random.default_rng(seed)
    strata = [np.flatnonzero(prompt == each) for each in np.unique(prompt)]
    kernels = _kernels(old, real), _kernels(new, real)

    def both(chosen: NDArray[np.int64]) -> tuple[float, float]:
        weight = np.bincount(chosen, minlength=len(old)).astype(np.float64)
        kid_old, kid_new = (each.distance(weight) for each in kernels)
        ratio = frechet_distance(new[chosen], real) / frechet_distance(old[chosen], real)
        return kid_new - kid_old, ratio

    itself = both(np.arange(len(old)))
    drawn = np.array(
        [
            both(np.concatenate([random.choice(stratum, len(stratum)) for stratum in strata]))
            for _ in range(num_resamples)
        ]
    )
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return {
        name: {"mean": float(itself[i]), "low": float(low[i]), "high": float(high[i])}
        for i, name in enumerate(("kid_judge", "fd_judge"))
    }


def precision_recall(real: Array, fake: Array) -> dict[str, float]:
    """Precision and recall (arXiv 1904.06991), density and coverage (arXiv 2002.09797), with the 5th
    neighbour."""
    radius_real = np.sort(cdist(real, real), 1)[:, _NEIGHBOURS]
    radius_fake = np.sort(cdist(fake, fake), 1)[:, _NEIGHBOURS]
    across = cdist(real, fake)
    inside = across < radius_real[:, None]
    return {
        "precision": float(inside.any(0).mean()),
        "recall": float((across < radius_fake[None]).any(1).mean()),
        "density": float(inside.sum(0).mean() / _NEIGHBOURS),
        "coverage": float(inside.any(1).mean()),
    }


def paired_interval(
    difference: Array, prompt: NDArray[np.int64], num_resamples: int, seed: int
) -> dict[str, float]:
    """Mean of paired differences with a 95 % bootstrap interval: prompts are resampled, then pairs within
    each.

    Args:
        difference: one value for each (prompt, seed) pair, (N,), the same number for every prompt.
        prompt: shape (N,).
    """
    random = np.random.default_rng(seed)
    by_prompt = np.stack([difference[prompt == p] for p in np.unique(prompt)])
    num_prompts, num_pairs = by_prompt.shape
    means = np.empty(num_resamples)
    for resample in range(num_resamples):
        prompts = random.integers(num_prompts, size=(num_prompts, 1))
        pairs = random.integers(num_pairs, size=(num_prompts, num_pairs))
        means[resample] = by_prompt[prompts, pairs].mean()
    low, high = np.quantile(means, [0.025, 0.975])
    return {"mean": float(difference.mean()), "low": float(low), "high": float(high)}
