"""The user's tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from flowmap.data.naming import first_line, named
from flowmap.errors import DataError
from flowmap.json_text import read_json

PREFERENCE_COLUMNS = ("prompt", "chosen", "rejected")


def read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Some columns of a csv, jsonl or parquet file as strings, an empty cell as ''.

    Raises:
        DataError: a missing column, an unreadable file, or values that are neither text nor whole numbers.
    """
    table = _read(path)
    missing = [column for column in columns if column not in table]
    if missing:
        there = ", ".join(map(str, table.columns)) or "none"
        raise DataError(f"{path} has no column {', '.join(missing)}; it has {there}")
    return pd.DataFrame({column: _as_text(table[column], path) for column in columns}, dtype=str)


def read_rows(path: Path, column: str) -> list[dict[str, Any]]:
    """Every row of such a file with what it has; empty cells are left out, but for those of `column`.

    Raises:
        DataError: there is no such column, or the file can't be read.
    """
    table = _read(path)
    if column not in table:
        there = ", ".join(map(str, table.columns)) or "none"
        raise DataError(f"{path} has no column {column}; it has {there}")
    rows = json.loads(table.to_json(orient="records", default_handler=str))
    return [
        {name: value for name, value in row.items() if name == column or value not in (None, "")}
        for row in rows
    ]


def column_names(path: Path) -> list[str]:
    """The columns of such a table. Raises DataError when it can't be read as one."""
    return [str(name) for name in _read(path).columns]


def preference_tables(folder: Path) -> list[Path]:
    """The tables of a folder that have the columns of preferences."""
    tables = [path for path in sorted(folder.iterdir()) if path.suffix in (".csv", ".jsonl", ".parquet")]
    return [path for path in tables if set(PREFERENCE_COLUMNS) <= set(column_names(path))]


def _read(path: Path) -> pd.DataFrame:
    readers: dict[str, Callable[[Path], pd.DataFrame]] = {".csv": _csv, ".jsonl": _jsonl}
    try:
        return readers.get(path.suffix, _parquet)(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (ValueError, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} can't be read as a table: {first_line(error)}") from None


def _csv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")


def _parquet(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path, dtype_backend="numpy_nullable")  # a whole number stays one beside a null


def _jsonl(path: Path) -> pd.DataFrame:
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            rows.append(dict(read_json(line)))
        except (ValueError, TypeError):
            raise ValueError(f"line {number} is no JSON object: {line!r:.60}") from None
    return pd.DataFrame(rows, dtype=object)


def _as_text(column: pd.Series[Any], path: Path) -> list[str]:
    texts, strange = [], []
    for number, value in enumerate(column.astype(object).tolist(), start=1):
        text = text_of(value)
        if text is None:
            strange.append(f"row {number} ({value!r:.60})")
        texts.append(text or "")
    if strange:
        raise DataError(
            f"{path}: column {column.name} holds {len(strange)} values that are neither text nor whole "
            f"numbers: {named(strange)}"
        )
    return texts


def text_of(value: Any) -> str | None:
    """A value as text; None for what is none, such as a list or a number with a fraction."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
    if value is None or value is pd.NA or (isinstance(value, float) and pd.isna(value)):
        return ""
    if isinstance(value, float) and value.is_integer():  # what a table makes of whole numbers beside a null
        return str(int(value))
    return str(value) if isinstance(value, int) else None
