"""The user's tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from flowmap.data.naming import first_line
from flowmap.errors import DataError


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
