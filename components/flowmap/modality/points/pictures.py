"""Points as pictures: where they lie, around the centres that they belong to."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from flowmap.modality.points.mixture import RADIUS, SPREAD, centres

_REACH = RADIUS + 5 * SPREAD
_RIGHT, _WRONG, _PLAIN = "#2e9e6b", "#d1495b", "#0072b2"
_COLUMNS = 4


def contact_sheet(x: Tensor, num_columns: int, scale: int = 1) -> bytes:
    """A PNG of points (N, 2) in one plane; `num_columns` means nothing to them."""
    figure = Figure(figsize=(2.4 * scale, 2.4 * scale), layout="constrained", dpi=110)
    _plane(figure.subplots(), x, _PLAIN)
    return _png(figure)


def labelled_rows(
    rows: Mapping[str, Tensor], columns: Sequence[str] = (), right: Mapping[str, Tensor] | None = None
) -> bytes:
    """A PNG with one plane for each label, those points that show their prompt in green, others crossed.

    Args:
        rows: points (N, 2); columns: means nothing to them.
        right: for some rows, whether each point shows what it should, (N,).
    """
    num_rows = -(-len(rows) // _COLUMNS)
    figure = Figure(figsize=(2.4 * _COLUMNS, 2.6 * num_rows), layout="constrained", dpi=110)
    cells = figure.subplots(num_rows, _COLUMNS, squeeze=False).flatten()
    for cell, (label, points) in zip(cells, rows.items(), strict=False):
        marks = None if right is None else right.get(label)
        if marks is None:
            _plane(cell, points, _PLAIN)
        else:
            _plane(cell, points[marks], _RIGHT)
            wrong = points[~marks].numpy()
            cell.scatter(wrong[:, 0], wrong[:, 1], s=14, color=_WRONG, marker="x", linewidths=1)
        cell.set_title(label, fontsize=9)
    for cell in cells[len(rows) :]:
        cell.set_axis_off()
    return _png(figure)


def sheet_scale(shape: Sequence[int], most_px: int, num_columns: int = 1) -> int:
    """As large as fits, in steps of a small picture's 264 pixels; at least 1."""
    return max(1, most_px // 264)


def _plane(cell: Axes, points: Tensor, colour: str) -> None:
    cell.scatter(centres()[:, 0], centres()[:, 1], s=60, marker="+", color="#888888", linewidths=1)
    cell.scatter(points[:, 0].numpy(), points[:, 1].numpy(), s=8, color=colour, alpha=0.8, linewidths=0)
    cell.set_xlim(-_REACH, _REACH)
    cell.set_ylim(-_REACH, _REACH)
    cell.set_aspect("equal")
    cell.set_xticks([])
    cell.set_yticks([])


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
