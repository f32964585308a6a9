"""Distances between sets of samples.

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
_CMMD_WIDTH, _CMMD_SCALE = 10.0, 1000.0


@dataclass(frozen=True)
class Frechet:
    """The Frechet distance to real data, ||mu_x - mu_y||^2 + tr(C_x + C_y - 2 (C_x C_y)^1/2).

    The trace of the root is that of (R' C_x R)^1/2 for any R with C_y = R R': of a symmetric matrix, and of
    one no larger than there are real data, which for the 2,048 features of Inception takes a twentieth of
    the time.

    Attributes:
        mean: of the real data, (dims,); variance: the trace of their covariance; root: R, (dims, rank).

    Source: Heusel et al. (arXiv 1706.08500), equation 6.
    """

    mean: Array
    variance: float
    root: Array

    @classmethod
    def of(cls, real: Array) -> Frechet:
        """To real data (M, dims)."""
        mean = real.mean(0)
        away = (real - mean) / np.sqrt(len(real) - 1)
        if len(real) < real.shape[1]:
            return cls(mean, float(np.square(away).sum()), away.T)
        values, vectors = np.linalg.eigh(away.T @ away)
        return cls(mean, float(values.sum()), vectors * np.sqrt(values.clip(0)))

    def distance(self, x: Array) -> float:
        """Of samples (N, dims)."""
        away = (x - x.mean(0)) / np.sqrt(len(x) - 1)
        seen = away @ self.root
        roots = np.sqrt(np.linalg.eigvalsh(seen.T @ seen).clip(0))
        between = np.square(x.mean(0) - self.mean).sum()
        return float(between + np.square(away).sum() + self.variance - 2 * roots.sum())


def frechet_distance(x: Array, y: Array) -> float:
    """Of samples x (N, dims) to real data y (M, dims)."""
    return Frechet.of(y).distance(x)


def kernel_distance(x: Array, y: Array) -> float:
    """KID: unbiased squared MMD with the kernel (x.y / dims + 1)^3, at a scale where y has mean square 1.

    The kernel is cubic, so without the scale a judge with large features would make it all noise.

    Source: Binkowski et al. (arXiv 1801.01401).
    """
    return Kernels.of(x, y).distance(np.ones(len(x)))


def cmmd(x: Array, y: Array) -> float:
    """A thousand times the squared MMD, with a Gaussian kernel of width 10, of CLIP's embeddings of pictures
    at unit length; CMMD proper is that of ViT-L/14 at 336 pixels.

    Source: Jayasumana et al. (arXiv 2401.09603).
    """
    x, y = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (x, y))

    def mean(one: Array, other: Array) -> float:
        return float(np.exp(-cdist(one, other, "sqeuclidean") / (2 * _CMMD_WIDTH**2)).mean())

    return _CMMD_SCALE * (mean(x, x) + mean(y, y) - 2 * mean(x, y))


@dataclass(frozen=True)
class Kernels:
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

    @classmethod
    def of(cls, x: Array, y: Array) -> Kernels:
        """Of samples x (N, dims) and real data y (M, dims)."""
        size = np.sqrt(np.square(y).mean())
        x, y = x / size, y / size

        def kernel(a: Array, b: Array) -> Array:
            cubed: Array = (a @ b.T / a.shape[1] + 1) ** 3
            return cubed

        return cls(kernel(x, x), kernel(y, y), kernel(x, y))


@dataclass(frozen=True)
class Reach:
    """Who lies within reach of whom: a datum reaches as far as the 5th neighbour among its own kind.

    Source: precision and recall (arXiv 1904.06991), density and coverage (arXiv 2002.09797).

    Attributes:
        recalled: whether a real datum lies within reach of some sample, (M,).
        covered: whether some sample lies within its own reach, (M,).
        precision, density: of the samples.
    """

    recalled: NDArray[np.bool_]
    covered: NDArray[np.bool_]
    precision: float
    density: float

    @classmethod
    def of(cls, real: Array, fake: Array) -> Reach:
        """Of real data (M, dims) and samples (N, dims)."""
        radius_real = np.sort(cdist(real, real), 1)[:, _NEIGHBOURS]
        radius_fake = np.sort(cdist(fake, fake), 1)[:, _NEIGHBOURS]
        across = cdist(real, fake)
        inside = across < radius_real[:, None]
        return cls(
            recalled=(across < radius_fake[None]).any(1),
            covered=inside.any(1),
            precision=float(inside.any(0).mean()),
            density=float(inside.sum(0).mean() / _NEIGHBOURS),
        )

    def figures(self) -> dict[str, float]:
        """All four as shares."""
        return {
            "precision": self.precision,
            "recall": float(self.recalled.mean()),
            "density": self.density,
            "coverage": float(self.covered.mean()),
        }
