"""Forecasts as pictures: each a small line in a cell of its own, what came a thin grey one behind it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

_RIGHT, _WRONG, _PLAIN, _CAME, _ZERO = "#2e9e6b", "#d1495b", "#0072b2", "#999999", "#dddddd"
_CELL, _DPI = 0.5, 100  # inches
_REAL = "real"
_INSIDE = 0.86  # of a cell


def contact_sheet(x: Tensor, num_columns: int, scale: int = 1) -> bytes:
    """A PNG of forecasts (N, values), a cell each."""
    num_rows = -(-len(x) // num_columns)
    figure = Figure(figsize=(num_columns * _CELL * scale, num_rows * _CELL * scale), dpi=_DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    places = np.stack([np.arange(len(x)) % num_columns, np.arange(len(x)) // num_columns], 1)
    _lines(axes, x, places, _reach(x), [_PLAIN] * len(x))
    _frame(axes, num_columns, num_rows)
    return _png(figure)


def labelled_rows(
    rows: Mapping[str, Tensor], columns: Sequence[str] = (), right: Mapping[str, Tensor] | None = None
) -> bytes:
    """A PNG with a row of cells for each label, what came behind each where there is a row `real`.

    Args:
        rows: forecasts (N, values), as many each.
        columns: the occasion of each.
        right: for some rows, whether each one hits, (N,).
    """
    num = max(map(len, rows.values()))
    figure = Figure(figsize=(1.7 + num * 0.55, 0.5 + len(rows) * 0.55), layout="constrained", dpi=_DPI)
    axes = figure.subplots()
    real, reach = rows.get(_REAL), max(_reach(data) for data in rows.values())
    for row, (label, data) in enumerate(rows.items()):
        places = np.stack([np.arange(len(data)), np.full(len(data), row)], 1)
        if real is not None and label != _REAL:
            _lines(axes, real, places, reach, [_CAME] * len(real))
        marks = None if right is None else right.get(label)
        colours = [_PLAIN] * len(data) if marks is None else [_RIGHT if hit else _WRONG for hit in marks]
        _lines(axes, data, places, reach, colours)
    _frame(axes, num, len(rows))
    axes.set_yticks(np.arange(len(rows)) + 0.5, list(rows), fontsize=7)
    dates = [name.removeprefix("after ") for name in columns]
    axes.set_xticks(np.arange(len(dates)) + 0.5, dates, fontsize=5, rotation=30, ha="left")
    axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    return _png(figure)


def sheet_scale(shape: Sequence[int], most_px: int, num_columns: int = 1) -> int:
    """As large as fits; at least 1."""
    return max(1, most_px // int(num_columns * _CELL * _DPI))


def _reach(x: Tensor) -> float:
    """The largest distance from 0."""
    finite = x[x.isfinite()]
    return float(finite.abs().max()) or 1.0 if len(finite) else 1.0


def _lines(axes: Axes, x: Tensor, places: NDArray[np.int64], reach: float, colours: Sequence[str]) -> None:
    """Each in the cell (column, row) that is its place, 0 in the middle."""
    values = x.flatten(1).double().numpy()
    along = 0.5 + _INSIDE * np.linspace(-0.5, 0.5, values.shape[1])
    across = places[:, 0, None] + along
    down = places[:, 1, None] + 0.5 - _INSIDE * values / (2 * reach)
    zeros = np.stack([across[:, [0, -1]], np.repeat(places[:, 1, None] + 0.5, 2, 1)], 2)
    axes.add_collection(LineCollection(list(zeros), colors=_ZERO, linewidths=0.5, zorder=0))
    axes.add_collection(LineCollection(list(np.stack([across, down], 2)), colors=colours, linewidths=1.1))


def _frame(axes: Axes, num_columns: int, num_rows: int) -> None:
    axes.set_xlim(0, num_columns)
    axes.set_ylim(num_rows, 0)
    axes.spines[:].set_visible(False)
    axes.set_xticks([])
    axes.set_yticks([])


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
