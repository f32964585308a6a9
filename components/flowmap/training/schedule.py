"""How the learning rate goes."""

from __future__ import annotations

import math


def schedule(update: int, num_updates: int) -> float:
    """Linear warm-up over a sixth of the updates (at most 100), then a half cosine to 1 %."""
    warm_up = min(1.0, (update + 1) / min(100, max(1, num_updates // 6)))
    return warm_up * 0.5 * (1 + math.cos(math.pi * update / num_updates)) + 0.01
