"""Sizes for those who set none."""

from __future__ import annotations

from collections.abc import Sequence

from flowmap.modality import sizes
from flowmap.settings import BaseTraining


def with_sizes(section: BaseTraining, modality: str, shape: Sequence[int], num_data: int) -> BaseTraining:
    """The section with width, updates and batch size filled in where they are left open.

    Args:
        shape: of one datum; num_data: in the base split.
    """
    suggested = sizes(modality).suggest(shape, num_data)
    left_open = {name: value for name, value in suggested.items() if getattr(section, name) is None}
    return section.model_copy(update=left_open)
