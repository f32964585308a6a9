"""A series, cut into windows: what was known at a time, and what came of it.

Times decide the splits: base training has the earliest windows, then reward, judge, and the evaluation the
latest. No future of one reaches into that of another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from flowmap.data.external import local_path
from flowmap.data.naming import first_line, named
from flowmap.errors import ConfigError, DataError
from flowmap.modality.protocols import Read
from flowmap.progress import say
from flowmap.settings import DataPrep, SeriesSettings

_MOST_MISSING = 0.05
_FEWEST = 200  # windows
_STANDARD = 0.5  # what deviation data have


def read(section: DataPrep) -> Read:
    """Raises DataError for a series that is too short, or of which too much is missing."""
    times, values = _co2() if section.source == "co2" else read_table(local_path(section.source))
    return windows(times, values, section.series or SeriesSettings(), section.shares.model_dump())


def windows(
    times: Sequence[str], values: NDArray[np.float64], sizes: SeriesSettings, shares: Mapping[str, float]
) -> Read:
    """Every window of a series (N,), less its last known value, in units in which the futures that base
    training sees have a standard deviation of .5. Raises DataError as `read` does."""
    values = _filled(times, values)
    num = len(values) - sizes.past - sizes.future + 1
    if num < _FEWEST:
        raise DataError(
            f"data_prep.source: {len(values)} values make {max(num, 0)} windows of {sizes.past} past and "
            f"{sizes.future} future ones, fewer than {_FEWEST}: set data_prep.series to shorter ones, or "
            "take a longer series"
        )
    cut = sliding_window_view(values, sizes.past + sizes.future)
    relative = cut - cut[:, sizes.past - 1 : sizes.past]
    past, future = relative[:, : sizes.past], relative[:, sizes.past :]
    splits = _splits(num, sizes.future, shares)
    unit = float(future[[split == "base" for split in splits]].std()) / _STANDARD
    if not unit:
        raise DataError("data_prep.source: the series does not change in the windows of base training")
    names = [f"after {times[index + sizes.past - 1]}" for index in range(num)]
    say(f"data_prep: {num} windows; 1 is {unit:.4g} of the series' own units")
    return Read(
        ids=names,
        data=(future / unit).astype(np.float32),
        prompts=names,
        named=True,
        origins=[f"part {index // (4 * sizes.future)}" for index in range(num)],  # neighbours share values
        context=(past / unit).astype(np.float32),
        splits=splits,
    )


def _splits(num: int, future: int, shares: Mapping[str, float]) -> list[str]:
    """Of each window in their order; the last ones of a split, whose futures reach into the next, are
    left out."""
    edges = np.round(np.cumsum(list(shares.values())) * num).astype(int)
    found, begin = [""] * num, 0
    for name, end in zip(shares, edges, strict=True):
        last = end if end == num else end - future
        if last <= begin:
            raise DataError(
                f"data_prep.shares: {name} gets {end - begin} windows, and {future} of them reach into what "
                "comes next: give it more"
            )
        found[begin:last] = [name] * (last - begin)
        begin = end
    return found


def _co2() -> tuple[list[str], NDArray[np.float64]]:
    try:
        from statsmodels.datasets import co2
    except ImportError:
        raise ConfigError(
            "data_prep.source: co2 comes with the package statsmodels: pip install 'flowmap[series]'"
        ) from None
    series = co2.load_pandas().data["co2"]
    return [f"{time:%Y-%m-%d}" for time in series.index], series.to_numpy(np.float64)


def read_table(file: Path) -> tuple[list[str], NDArray[np.float64]]:
    """Times and values of a `.csv`, NaN where one is missing. Raises DataError for one that is no series."""
    try:
        table = pd.read_csv(file, dtype={"time": str})
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: can't be read: {first_line(error)}") from None
    if lacking := {"time", "value"} - set(table):
        raise DataError(f"{file} has no column {' and '.join(sorted(lacking))}; it has {', '.join(table)}")
    numbers = pd.to_numeric(table["value"], errors="coerce")
    wrong = table["time"][numbers.isna() & table["value"].notna()]
    if len(wrong):
        raise DataError(f"{file}: {len(wrong)} values are no numbers, at {named(wrong)}")
    if table["time"].isna().any() or table["time"].duplicated().any():
        raise DataError(f"{file}: every row needs a time of its own")
    return list(table["time"]), numbers.to_numpy(np.float64)


def _filled(times: Sequence[str], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """With straight lines where values are missing, which is said."""
    missing = np.flatnonzero(~np.isfinite(values))
    if not len(missing):
        return values
    if len(missing) > _MOST_MISSING * len(values):
        raise DataError(
            f"data_prep.source: {len(missing)} of {len(values)} values are missing, more than "
            f"{_MOST_MISSING:.0%}: {named(times[int(index)] for index in missing)}"
        )
    say(f"data_prep: {len(missing)} of {len(values)} values are missing; straight lines stand for them")
    there = np.flatnonzero(np.isfinite(values))
    return np.interp(np.arange(len(values)), there, values[there])


def read_files(
    section: DataPrep, folder: Path, names: Sequence[str], shape: Sequence[int]
) -> dict[str, NDArray[np.float32]]:
    raise DataError("windows of a series lie in no files")
