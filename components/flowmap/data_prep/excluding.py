"""Data that somebody asked to have left out, by name or by digest."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from flowmap.data.naming import named
from flowmap.progress import say

_SHORTEST = 12  # letters of a digest
_LETTERS = frozenset("0123456789abcdef")


def is_meant(exclude: Sequence[str], name: str, digest: str) -> bool:
    """Whether a datum is among them."""
    return any(each == name or (_may_be_digest(each) and digest.startswith(each)) for each in exclude)


def without_excluded(table: pd.DataFrame, exclude: Sequence[str]) -> tuple[pd.DataFrame, set[str]]:
    """The rows of a table (`id`, `digest`) but those that are meant and all of the same content; and the
    digests of those.

    What matches nothing is told, for it may have been mistyped; it may be gone from the source as well.
    """
    if not exclude:
        return table, set()
    digests: set[str] = set()
    nothing = []
    for each in exclude:
        found = table["id"] == each
        if _may_be_digest(each):
            found |= table["digest"].str.startswith(each)
        digests |= set(table["digest"][found])
        if not found.any():
            nothing.append(each)
    excluded = table["digest"].isin(digests)
    gone = f"; {len(nothing)} of {len(exclude)} match nothing: {named(nothing)}" if nothing else ""
    say(f"data_prep: {int(excluded.sum())} data left out as asked{gone}")
    return table[~excluded], digests


def _may_be_digest(text: str) -> bool:
    return len(text) >= _SHORTEST and set(text) <= _LETTERS
