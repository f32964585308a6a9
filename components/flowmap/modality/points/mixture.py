"""Eight round clouds on a circle, one for each point of the compass.

Each cloud is a Gaussian of standard deviation SPREAD around its centre, so what prompt a point has is known
exactly: p(prompt | x) is the softmax of a linear function. Clouds overlap a little: whoever names the
nearest centre is right in 94.4 % of the points.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_COMPASS = ("east", "northeast", "north", "northwest", "west", "southwest", "south", "southeast")
PROMPTS = tuple(sorted(_COMPASS))  # in the order that prompts have everywhere
RADIUS, SPREAD = 0.5, 0.1
_NUM_POINTS, _SEED = 4000, 20260701


def centres() -> NDArray[np.float64]:
    """Of each cloud, in the order of PROMPTS, (8, 2)."""
    angles = np.array([2 * math.pi * _COMPASS.index(prompt) / len(_COMPASS) for prompt in PROMPTS])
    return RADIUS * np.stack([np.cos(angles), np.sin(angles)], 1)


def draw_points(num: int = _NUM_POINTS, seed: int = _SEED) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Points (num, 2) and the prompt of each, (num,), the prompts taking turns."""
    prompt = np.arange(num) % len(PROMPTS)
    noise = np.random.default_rng(seed).normal(0, SPREAD, (num, 2))
    return (centres()[prompt] + noise).astype(np.float32), prompt
