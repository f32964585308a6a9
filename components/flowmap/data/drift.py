"""How one data artifact differs from another: what came and went, and whether what stayed of a kind moved.

found = compare(read_look(old), read_look(new))
found.added, found.psi["brightness"], found.near_duplicates
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import load_file

from flowmap.data.dataset import DATA, TABLE
from flowmap.errors import DataError

FEW, MUCH = 0.1, 0.25  # of the population stability index, as it is usually read
_BINS = 10
_LEAST = 1e-4  # share of an empty bin
_ALIKE = 2  # of 64 bits
_TRAINED, _JUDGED = ("base", "reward"), ("judge", "holdout")
_AT_ONCE = 512


@dataclass(frozen=True)
class Look:
    """What is compared of a data artifact.

    Attributes:
        table: digest, prompt, split, brightness and contrast of each datum.
        hashes: 64 bits of each, where there is such a thing.
    """

    table: pd.DataFrame
    hashes: NDArray[np.uint64] | None


@dataclass(frozen=True)
class Drift:
    """How the second differs from the first.

    Attributes:
        counts: number of data of each.
        added, removed: data that only the second, or only the first, has; shared: that both have.
        moved: shared data that are in another split.
        new_prompts, gone_prompts: that only one of them has.
        psi: the population stability index of prompts, brightness and contrast; 0 is no difference, and what
            it means from .1 and from .25 on is a convention.
        near_duplicates: data of the second's judging splits that look like one of its training splits; None
            where nothing says what looks alike.
    """

    counts: tuple[int, int]
    added: int
    removed: int
    shared: int
    moved: int
    new_prompts: tuple[str, ...]
    gone_prompts: tuple[str, ...]
    psi: dict[str, float]
    near_duplicates: int | None


def read_look(directory: Path, hash_of: Callable[[NDArray[np.float32]], int] | None = None) -> Look:
    """Of a data artifact's folder.

    Args:
        hash_of: 64 bits of a datum that are the same for those that look alike.

    Raises DataError where there are prompts alone.
    """
    if not (directory / TABLE).is_file():
        raise DataError("there are prompts alone, and no data to compare")
    table = pd.read_parquet(directory / TABLE, columns=["digest", "prompt", "split", "mean"])
    data = load_file(directory / DATA)["data"]
    flat = data.reshape(len(data), -1)
    table = table.rename(columns={"mean": "brightness"}).assign(contrast=flat.std(1))
    return Look(table, None if hash_of is None else np.array([hash_of(each) for each in data], np.uint64))


def compare(old: Look, new: Look) -> Drift:
    """The second against the first."""
    before, after = (look.table.set_index("digest") for look in (old, new))
    shared = before.index.intersection(after.index)
    prompts = [set(table["prompt"]) for table in (before, after)]
    psi = {"prompts": _psi_of_counts(Counter(before["prompt"]), Counter(after["prompt"]))}
    for name in ("brightness", "contrast"):
        psi[name] = stability(before[name].to_numpy(), after[name].to_numpy())
    return Drift(
        counts=(len(before), len(after)),
        added=len(after) - len(shared),
        removed=len(before) - len(shared),
        shared=len(shared),
        moved=int((before.loc[shared, "split"] != after.loc[shared, "split"]).sum()),
        new_prompts=tuple(sorted(prompts[1] - prompts[0])),
        gone_prompts=tuple(sorted(prompts[0] - prompts[1])),
        psi=psi,
        near_duplicates=None if new.hashes is None else _near_duplicates(new.table, new.hashes),
    )


def stability(old: NDArray[np.float64], new: NDArray[np.float64]) -> float:
    """The population stability index of a number, over ten bins with equally many of the first in each."""
    edges = np.unique(np.quantile(old, np.linspace(0, 1, _BINS + 1)[1:-1]))
    counts = (
        np.bincount(np.searchsorted(edges, each, "right"), minlength=len(edges) + 1) for each in (old, new)
    )
    before, after = (each / each.sum() for each in counts)
    return _index(before, after)


def _near_duplicates(table: pd.DataFrame, hashes: NDArray[np.uint64]) -> int:
    trained, judged = (hashes[table["split"].isin(splits).to_numpy()] for splits in (_TRAINED, _JUDGED))
    found = 0
    for first in range(0, len(judged), _AT_ONCE):
        apart = np.bitwise_count(judged[first : first + _AT_ONCE, None] ^ trained[None])
        found += int((apart <= _ALIKE).any(1).sum())
    return found


def _psi_of_counts(old: Counter[str], new: Counter[str]) -> float:
    names = sorted({*old, *new})
    before, after = (np.array([each[name] for name in names]) / each.total() for each in (old, new))
    return _index(before, after)


def _index(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    before, after = (np.maximum(each, _LEAST) for each in (before, after))
    return float(((after - before) * np.log(after / before)).sum())
