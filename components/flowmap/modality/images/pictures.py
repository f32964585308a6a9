"""Samples as pictures: one PNG with many of them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

_GAP = 1
_UPRIGHT_TITLE, _LONGEST_TITLE = 8, 32
_LEAN = 60  # degrees
_SMALL_PX, _INCHES, _INCHES_LARGE = 64, 0.5, 1.2  # of an image and the gap behind it
_SIDE = 0.9  # of an image, where the next one begins at 1
_LOW = 0.6
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
        right: for some rows, whether each image shows what it should, (N,): those are framed in green and
            ticked, the others in red and crossed.
    """
    num = len(next(iter(rows.values())))
    tall = _SIDE * next(iter(rows.values())).shape[-2] / next(iter(rows.values())).shape[-1]
    tallest = max((len(each) for each in columns), default=0)
    tallest = 0 if tallest <= _UPRIGHT_TITLE else min(tallest, _LONGEST_TITLE)
    side = _INCHES if next(iter(rows.values())).shape[-1] <= _SMALL_PX else _INCHES_LARGE
    figure_height = side * (tall + 1 - _SIDE) * len(rows) + (0.25 if columns else 0.06) + 0.06 * tallest
    figure = Figure(figsize=(1.9 + side * num, figure_height), layout="constrained", dpi=110)
    # One plane for all of them: axes of their own take a hundred times as long to draw as what is in them.
    plane = figure.subplots()
    tops = [row * (tall + 1 - _SIDE) for row in range(len(rows))]
    for top, (label, images) in zip(tops, rows.items(), strict=True):
        marks = None if right is None else right.get(label)
        for left, image in enumerate(images):
            levels = ((image.clamp(-1, 1) + 1) / 2).permute(1, 2, 0).numpy()
            plane.imshow(levels, cmap="gray", vmin=0, vmax=1, extent=(left, left + _SIDE, top + tall, top))
            if marks is not None:
                _mark(plane, left, top, tall, is_right=bool(marks[left]))
    plane.set_xlim(-0.05, num)
    plane.set_ylim(tops[-1] + tall + 0.05, -0.05)
    plane.set_frame_on(False)
    plane.tick_params(length=0, labeltop=True, labelbottom=False)
    plane.set_yticks([top + tall / 2 for top in tops], list(rows), fontsize=9)
    titles = [each if len(each) <= _LONGEST_TITLE else f"{each[:_LONGEST_TITLE]}…" for each in columns]
    places = [left + _SIDE / 2 for left in range(len(titles))]
    if tallest:  # texts that would run into each other lean
        plane.set_xticks(places, titles, fontsize=8, rotation=_LEAN, ha="left", rotation_mode="anchor")
    else:
        plane.set_xticks(places, titles, fontsize=8)
    buffer = io.BytesIO()
    # Tight: square images leave labels less room than the layout knows of.
    figure.savefig(buffer, format="png", metadata={"Software": None}, bbox_inches="tight", pad_inches=0.06)
    return buffer.getvalue()


def _mark(plane: Axes, left: float, top: float, tall: float, *, is_right: bool) -> None:
    colour = _RIGHT if is_right else _WRONG
    plane.add_patch(Rectangle((left, top), _SIDE, tall, fill=False, edgecolor=colour, linewidth=1.8))
    where: dict[str, Any] = {"x": left + 0.97 * _SIDE, "y": top + 0.03 * tall, "ha": "right", "va": "top"}
    if tall < _LOW:  # it would hide a third of what is drawn
        where = {"x": left + _SIDE, "y": top, "ha": "center", "va": "center", "size": 8}
    mark = plane.text(s="✓" if is_right else "×", color=colour, weight="bold", **where)
    mark.set_path_effects([withStroke(linewidth=1.5, foreground="white")])  # on whatever is drawn there


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
