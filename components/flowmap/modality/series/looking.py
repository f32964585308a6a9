"""A first look at a series, for `flowmap init`."""

from __future__ import annotations

from pathlib import Path

from flowmap.data.external import local_path
from flowmap.errors import DataError
from flowmap.modality.protocols import Look
from flowmap.modality.series.reading import read_table, windows
from flowmap.settings import DataPrep, SeriesSettings

_PAST, _FUTURE = 52, 13
_ROOM = 8  # times the past and the future that a series should be long


def look(source: Path, preferences: Path | None = None) -> Look:
    """Of a `.csv` with the columns `time` and `value`; the past is as long as the series has room for.

    Raises DataError when it is not readable as a series, or comes with preferences, which have no meaning
    there.
    """
    if preferences is not None:
        raise DataError(f"{source} is a series: there are no preferences among what came of it")
    times, values = read_table(local_path(str(source)))
    past = max(4, min(_PAST, len(values) // _ROOM * 4 // 5))
    sizes = SeriesSettings(past=past, future=max(2, past * _FUTURE // _PAST))
    found = windows(times, values, sizes, DataPrep().shares.model_dump())
    told = {"past": sizes.past, "future": sizes.future}
    why = "values that a forecast is given, and that it is of: a season of them, where there are seasons"
    return Look(
        prompts=dict.fromkeys(found.prompts, 1),
        shape=found.data.shape[1:],
        told=f"windows of {len(values)} values",
        settings={"series": (told, why)},
    )
