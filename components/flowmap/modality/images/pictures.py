"""Samples as pictures: one PNG with many of them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

_GAP = 1
_LONGEST_TITLE = 8
_RIGHT, _WRONG = "#2e9e6b", "#d1495b"


def contact_sheet(x: Tensor, num_columns: int, scale: int = 1) -> bytes:
    """A PNG of images in rows.

    Args:
        x: images in [-1, 1] (values outside are clipped), shape (N, channels, height, width), 1 or 3
            channels.
        num_columns: images in a row.
        scale: screen pixels for each image pixel.
    """
    levels = ((x.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    return _encode(levels, num_columns, scale)


def labelled_rows(
    rows: Mapping[str, Tensor], columns: Sequence[str] = (), right: Mapping[str, Tensor] | None = None
) -> bytes:
    """A PNG with one row of images for each label.

    Args:
        rows: images in [-1, 1], (N, channels, height, width), the same N in each row.
        columns: what stands above each column.
        right: for some rows, whether each image shows what it should, (N,): those are framed in green, the
            others in red and crossed.
    """
    num = len(next(iter(rows.values())))
    height = 0.56 * len(rows) + (0.25 if columns else 0)
    figure = Figure(figsize=(1.9 + 0.5 * num, height), layout="constrained", dpi=110)
    grid = figure.subplots(len(rows), num, squeeze=False)
    for axes, (label, images) in zip(grid, rows.items(), strict=True):
        marks = None if right is None else right.get(label)
        for index, (cell, image) in enumerate(zip(axes, images, strict=True)):
            cell.imshow(((image.clamp(-1, 1) + 1) / 2).permute(1, 2, 0).numpy(), cmap="gray", vmin=0, vmax=1)
            cell.set_xticks([])
            cell.set_yticks([])
            if marks is not None:
                _mark(cell, is_right=bool(marks[index]))
        axes[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
    for cell, title in zip(grid[0], columns, strict=False):
        cell.set_title(title if len(title) <= _LONGEST_TITLE else f"{title[:_LONGEST_TITLE]}…", fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _mark(cell: Axes, *, is_right: bool) -> None:
    for spine in cell.spines.values():
        spine.set_color(_RIGHT if is_right else _WRONG)
        spine.set_linewidth(1.8)
    if not is_right:  # not by colour alone
        cell.text(
            0.97, 0.97, "×", transform=cell.transAxes, color=_WRONG, ha="right", va="top", weight="bold"
        )


def sheet_scale(shape: Sequence[int], most_px: int, num_columns: int = 1) -> int:
    """How many screen pixels for each of an image's, so that a row of images is at most about so wide; at
    least 1."""
    return max(1, most_px // (num_columns * shape[-1]))


def _encode(levels: NDArray[np.uint8], num_columns: int, scale: int) -> bytes:
    num, height, width, channels = levels.shape
    num_rows = -(-num // num_columns)
    row_height, column_width = height + _GAP, width + _GAP
    sheet = np.full(
        (num_rows * row_height - _GAP, num_columns * column_width - _GAP, channels), 128, np.uint8
    )
    for index, image in enumerate(levels):
        top, left = index // num_columns * row_height, index % num_columns * column_width
        sheet[top : top + height, left : left + width] = image
    picture = Image.fromarray(sheet if channels == 3 else sheet[..., 0])
    size = (picture.width * scale, picture.height * scale)
    buffer = io.BytesIO()
    picture.resize(size, Image.Resampling.NEAREST).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
