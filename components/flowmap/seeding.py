"""Seeds, and generators that depend on what they are for rather than on who asks first."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from flowmap.artifacts.digest import canonical_json, sha256_of

if TYPE_CHECKING:
    import torch


def seed_everything(seed: int, *, with_torch: bool = True) -> None:
    """Seed the generators of Python, numpy and torch, and let torch compute in one thread.

    A step that computes nothing with torch does without it, and without the seconds that it takes to load.

    How sums are split among threads changes their last digit, and a step must not come to something else
    where there are more cores. The networks that a step trains in its own process are too small to gain by a
    second thread; what is worth more goes through a launcher.
    """
    import numpy as np

    random.seed(seed)
    np.random.seed(seed)
    if not with_torch:
        return
    import torch

    torch.manual_seed(seed)
    torch.set_num_threads(1)


def derived_seed(*parts: int | str) -> int:
    """A seed below 2^63 for one purpose, such as (run seed, "rollout", 7, prompt 3): equal parts, equal
    seed."""
    return int(sha256_of(canonical_json(list(parts)))[:16], 16) >> 1


def generator_for(*parts: int | str) -> torch.Generator:
    """A generator for one purpose: no two purposes share a stream, however alike their seeds are."""
    import torch

    return torch.Generator().manual_seed(derived_seed(*parts))
