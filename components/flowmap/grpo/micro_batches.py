"""A rollout in parts, for what does not fit at once: any division gives the same update."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def parts_of(num: int, most: int) -> list[slice]:
    """Slices that cover so many samples, none longer than `most`."""
    return [slice(start, min(start + most, num)) for start in range(0, num, most)]


def over_parts(told: Sequence[dict[str, Tensor]], parts: Sequence[slice]) -> dict[str, Tensor]:
    """Metrics of a whole transition from those of its parts."""
    num = parts[-1].stop
    weights = [(part.stop - part.start) / num for part in parts]

    def mean(name: str) -> Tensor:
        return torch.stack([row[name] * weight for row, weight in zip(told, weights, strict=True)]).sum()

    return {
        "kl": mean("kl"),
        "clipped": mean("clipped"),
        "drift": torch.stack([row["drift"] for row in told]).max(),
        "loss": torch.stack([row["loss"] for row in told]).sum(),
    }
