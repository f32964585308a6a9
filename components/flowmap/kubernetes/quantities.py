"""Kubernetes' quantities, such as `500m`, `2` or `4Gi`."""

from __future__ import annotations

import re

QUANTITY = r"([0-9]+(?:\.[0-9]+)?)(m|[kMGTP]i?|)"
_SCALE = {"": 1.0, "m": 1e-3} | {
    f"{prefix}{binary}": float((1024 if binary else 1000) ** power)
    for power, prefix in enumerate("kMGTP", start=1)
    for binary in ("", "i")
}


def amount(quantity: str) -> float:
    """What a quantity stands for. Raises ValueError when it is none."""
    found = re.fullmatch(QUANTITY, quantity)
    if found is None:
        raise ValueError(f"{quantity!r} is no quantity such as 500m, 2 or 4Gi")
    return float(found[1]) * _SCALE[found[2]]
