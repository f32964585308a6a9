"""What a sample is to show, as a network takes it.

Only the network looks inside; everything else passes it on.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

# Each leaf has the batch as its first dimension.
Condition = Mapping[str, Tensor]


def repeat(condition: Condition, times: int) -> Condition:
    """Every row so many times in a row: (batch, ...) becomes (batch * times, ...)."""
    return {name: leaf.repeat_interleave(times, 0) for name, leaf in condition.items()}


def rows(condition: Condition, chosen: slice | Tensor) -> Condition:
    """The chosen rows of every leaf."""
    return {name: leaf[chosen] for name, leaf in condition.items()}
