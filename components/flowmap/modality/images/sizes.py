"""How large a network and how many updates images ask for: measured at 8x8 and 14x14, extrapolated
beyond."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

_SMALL_PIXELS = 64
_SMALL_UPDATES = 600
_MOST_UPDATES = 4000
_GROWTH = 1.24  # 600 updates suffice at 8x8 and 2,400 at 14x14
_BATCH = 256


def suggest(shape: Sequence[int], num_data: int) -> dict[str, Any]:
    """`width`, `updates` and `batch_size` for so many images of a shape, (channels, height, width)."""
    num_dims, num_pixels = math.prod(shape), math.prod(shape[1:])
    growth = max(1.0, (num_pixels / _SMALL_PIXELS) ** _GROWTH)
    return {
        "width": 256 if num_dims <= 512 else 384 if num_dims <= 1024 else 512,
        "updates": int(min(_MOST_UPDATES, round(_SMALL_UPDATES * growth, -2))),
        "batch_size": max(2, min(_BATCH, num_data)),
    }
