"""The user's tables, and how to name what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from flowmap.errors import DataError

_NUM_NAMED = 10


def read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """A csv or parquet file as strings. Raises DataError for a missing column or an unreadable file."""
    try:
        if path.suffix == ".csv":
            table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
        else:
            table = pd.read_parquet(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (ValueError, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} can't be read as a table: {first_line(error)}") from None
    missing = [column for column in columns if column not in table]
    if missing:
        there = ", ".join(map(str, table.columns))
        raise DataError(f"{path} has no column {', '.join(missing)}; it has {there}")
    text: pd.DataFrame = table[list(columns)].fillna("").astype(str)
    return text


def outside_names(names: Iterable[str]) -> list[str]:
    """File names that lead out of their folder, and so out of the digest that says whether the data
    changed."""
    return [name for name in names if Path(name).is_absolute() or ".." in Path(name).parts]


def named(offenders: Iterable[str]) -> str:
    """The first ten, and that there are more."""
    rows = list(offenders)
    return ", ".join(rows[:_NUM_NAMED]) + (
        f", and {len(rows) - _NUM_NAMED} more" if len(rows) > _NUM_NAMED else ""
    )


def first_line(error: BaseException) -> str:
    """The gist of an error."""
    return (str(error) or type(error).__name__).splitlines()[0][:160]
