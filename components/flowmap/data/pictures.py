"""Samples as pictures: one PNG with many of them."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

_GAP = 1


def contact_sheet(x: Tensor, num_columns: int, scale: int = 1) -> bytes:
    """A PNG of images in rows.

    Args:
        x: images in [-1, 1] (values outside are clipped), shape (N, channels, height, width), 1 or 3 channels.
        num_columns: images in a row.
        scale: screen pixels for each image pixel.
    """
    levels = ((x.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    return _encode(levels, num_columns, scale)


def prompts_by_seed(x: Tensor, prompt: Tensor, num_seeds: int, offset: int = 0) -> Tensor:
    """The samples of the same few seeds for each prompt, prompt after prompt: (prompts x num_seeds, *data)."""
    chosen: Sequence[Tensor] = [
        (prompt == value).nonzero()[offset : offset + num_seeds, 0] for value in prompt.unique().tolist()
    ]
    return x[[int(index) for indices in chosen for index in indices]]


def _encode(levels: NDArray[np.uint8], num_columns: int, scale: int) -> bytes:
    num, height, width, channels = levels.shape
    num_rows = -(-num // num_columns)
    row_height, column_width = height + _GAP, width + _GAP
    sheet = np.full((num_rows * row_height - _GAP, num_columns * column_width - _GAP, channels), 128, np.uint8)
    for index, image in enumerate(levels):
        top, left = index // num_columns * row_height, index % num_columns * column_width
        sheet[top : top + height, left : left + width] = image
    picture = Image.fromarray(sheet if channels == 3 else sheet[..., 0])
    size = (picture.width * scale, picture.height * scale)
    buffer = io.BytesIO()
    picture.resize(size, Image.Resampling.NEAREST).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
