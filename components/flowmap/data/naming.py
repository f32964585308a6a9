"""How to name what is wrong with a user's data, in a message of bearable length."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

_NUM_NAMED = 10


def outside_names(names: Iterable[str]) -> list[str]:
    """File names that lead out of their folder, and so out of the digest that says whether the data
    changed."""
    return [name for name in names if Path(name).is_absolute() or ".." in Path(name).parts]


def hidden_names(names: Iterable[str]) -> list[str]:
    """File names that are hidden, or lie in a hidden folder."""
    return [name for name in names if any(part.startswith(".") for part in PurePosixPath(name).parts)]


def named(offenders: Iterable[str]) -> str:
    """The first ten, and that there are more."""
    rows = list(offenders)
    return ", ".join(rows[:_NUM_NAMED]) + (
        f", and {len(rows) - _NUM_NAMED} more" if len(rows) > _NUM_NAMED else ""
    )


def first_line(error: BaseException) -> str:
    """The gist of an error."""
    return (str(error) or type(error).__name__).splitlines()[0][:160]
