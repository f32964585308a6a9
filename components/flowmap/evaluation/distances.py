"""Distances between sets of samples, and paired differences.

Features are (N, dims) float64. Frechet distance and KID are named after the judge, `fd_judge` and
`kid_judge`: FID is the name for features of Inception.
"""

from __future__ import annotations

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
    size = np.sqrt(np.square(y).mean())
    x, y = x / size, y / size

    def kernel(a: Array, b: Array) -> Array:
        cubed: Array = (a @ b.T / a.shape[1] + 1) ** 3
        return cubed

    xx, yy = kernel(x, x), kernel(y, y)
    within_x = (xx.sum() - np.trace(xx)) / (len(x) * (len(x) - 1))
    within_y = (yy.sum() - np.trace(yy)) / (len(y) * (len(y) - 1))
    return float(within_x + within_y - 2 * kernel(x, y).mean())


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
