"""Sizes for those who set none: measured at 8x8 and 14x14, extrapolated beyond."""

from __future__ import annotations

import math
from collections.abc import Sequence

from flowmap.config import BaseTraining

_SMALL_PIXELS = 64
_SMALL_UPDATES = 600
_MOST_UPDATES = 4000
_GROWTH = 1.24  # 600 updates suffice at 8x8 and 2,400 at 14x14
_BATCH = 256


def with_sizes(section: BaseTraining, shape: Sequence[int], num_images: int) -> BaseTraining:
    """The section with width, updates and batch size filled in where they are left open.

    Args:
        shape: of one image, (channels, height, width); num_images: in the base split.
    """
    num_dims, num_pixels = math.prod(shape), math.prod(shape[1:])
    width = 256 if num_dims <= 512 else 384 if num_dims <= 1024 else 512
    growth = max(1.0, (num_pixels / _SMALL_PIXELS) ** _GROWTH)
    updates = min(_MOST_UPDATES, round(_SMALL_UPDATES * growth, -2))
    chosen = {"width": width, "updates": int(updates), "batch_size": max(2, min(_BATCH, num_images))}
    return section.model_copy(update={name: value for name, value in chosen.items() if getattr(section, name) is None})
