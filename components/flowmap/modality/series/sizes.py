"""How large a network and how many updates forecasts ask for: measured on the 13 weeks of co2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def suggest(shape: Sequence[int], num_data: int) -> dict[str, Any]:
    """`width`, `updates` and `batch_size`."""
    return {"width": 128, "updates": 1200, "batch_size": min(256, num_data)}
