"""How one data artifact differs from another: what came and went, and whether what stayed of a kind moved.

found = compare(read_looks(old), read_looks(new))
found.both["data"].added, found.both["data"].psi["brightness"]
found.only_second                                # kinds of data that the first has none of
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as parquet
from numpy.typing import NDArray
from safetensors.numpy import load_file

from flowmap.data.dataset import DATA, TABLE, read_facts
from flowmap.data.encoded import CAPTIONED
from flowmap.data.facts import DataFacts
from flowmap.errors import DataError
from flowmap.prompts.facts import PromptFacts

WHOLE, ALONE, WITH_CAPTIONS = "data", "prompts", "pictures with captions"
FEW, MUCH = 0.1, 0.25  # of the population stability index, as it is usually read
_BINS = 10
_LEAST = 1e-4  # share of an empty bin; less where one datum is less
_FREQUENT = 1e-3  # share of a word
# Of scripts that write no spaces, each sign is one.
_WORD = re.compile("[\u2e80-\U0003ffff]|[^\\W\u2e80-\U0003ffff]+")
_ALIKE = 2  # of 64 bits
_TRAINED, _JUDGED = ("base", "reward"), ("judge", "holdout")
_AT_ONCE = 512
_MEASURED = ("brightness", "contrast", "pixels")


@dataclass(frozen=True)
class Look:
    """What is compared of a data artifact, or of one kind of data in it.

    Attributes:
        table: digest, prompt and split of each datum, and what is measured of it: brightness, contrast,
            pixels.
        hashes: 64 bits of each, where there is such a thing.
        kind: of data; captions are texts of any kind, of which each may be another, and of prompts alone
            each is there once: other prompts are names of classes.
    """

    table: pd.DataFrame
    hashes: NDArray[np.uint64] | None = None
    kind: str = WHOLE


@dataclass(frozen=True)
class Drift:
    """How the second differs from the first.

    Attributes:
        counts: number of data of each.
        added, removed: data that only the second, or only the first, has; shared: that both have.
        moved: shared data that are in another split; of prompts alone, that other steps are kept from.
        new_prompts, gone_prompts: that only one of them has.
        psi: the population stability index of prompts, of captions that of their frequent words, of prompts
            alone none; and of what was measured of both. 0 is no difference, and what it means from .1 and
            from .25 on is a convention.
        near_duplicates: data of the second's judging splits that look like one of its training splits; of
            pictures with captions, which are all trained on, those that look like another of them; None
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


@dataclass(frozen=True)
class Comparison:
    """The second data artifact against the first.

    Attributes:
        both: by what kind of data both have.
        only_first, only_second: kinds that one of them has.
    """

    both: dict[str, Drift]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]

    @property
    def most(self) -> float:
        """The largest index; infinite where a kind of data came or went."""
        if self.only_first or self.only_second:
            return math.inf
        return max((index for drift in self.both.values() for index in drift.psi.values()), default=0.0)


def read_looks(
    directory: Path, hash_of: Callable[[NDArray[np.float32]], int] | None = None
) -> dict[str, Look]:
    """Of a data artifact's folder, by what kind of data there are.

    Args:
        hash_of: 64 bits of a datum that are the same for those that look alike.
    """
    facts = read_facts(directory)
    found = {}
    if not facts.prompts_alone:
        table = pd.read_parquet(directory / TABLE, columns=["digest", "prompt", "split", "mean"])
        data = load_file(directory / DATA)["data"]
        flat = data.reshape(len(data), -1)
        table = table.rename(columns={"mean": "brightness"}).assign(contrast=flat.std(1))
        hashes = None if hash_of is None else np.array([hash_of(each) for each in data], np.uint64)
        found[WHOLE] = Look(table, hashes)
    else:
        found[ALONE] = Look(_prompts(facts), kind=ALONE)
    if (directory / CAPTIONED).is_file():
        found[WITH_CAPTIONS] = _captioned(directory / CAPTIONED)
    return found


def _prompts(facts: DataFacts) -> pd.DataFrame:
    sets = (facts.prompt_facts or PromptFacts()).sets(facts.prompts)
    split = {facts.prompts[index]: name for name, indices in sets.items() for index in indices}
    return pd.DataFrame({"digest": facts.prompts, "prompt": facts.prompts}).assign(
        split=[split[prompt] for prompt in facts.prompts]
    )


def _captioned(file: Path) -> Look:
    """Its table has no brightness, contrast and likeness where it was made before they were kept."""
    kept = [
        name for name in ("brightness", "contrast", "likeness") if name in parquet.read_schema(file).names
    ]
    table = pd.read_parquet(file, columns=["digest", "caption", "rows", "columns", *kept])
    table = table.rename(columns={"caption": "prompt"}).assign(
        split="base", pixels=table["rows"] * table["columns"]
    )
    hashes = table["likeness"].to_numpy(np.uint64) if "likeness" in table else None
    return Look(table, hashes, WITH_CAPTIONS)


def compare(old: Mapping[str, Look], new: Mapping[str, Look]) -> Comparison:
    """The second against the first. Raises DataError where they have no kind of data in common."""
    shared = [kind for kind in old if kind in new]
    if not shared:
        told = (" and ".join(each) for each in (old, new))
        raise DataError("the first has {} and the other {}: nothing to compare".format(*told))
    return Comparison(
        both={kind: compared(old[kind], new[kind]) for kind in shared},
        only_first=tuple(kind for kind in old if kind not in new),
        only_second=tuple(kind for kind in new if kind not in old),
    )


def compared(old: Look, new: Look) -> Drift:
    """The same of one kind."""
    tables = [look.table.assign(key=_keys(look)).set_index("key") for look in (old, new)]
    before, after = (table[~table.index.duplicated()] for table in tables)
    shared = before.index.intersection(after.index)
    prompts = [set(table["prompt"]) for table in (before, after)]
    psi = {}
    if new.kind == WITH_CAPTIONS:
        psi["words of captions"] = _psi_of_words(*(table["prompt"] for table in (before, after)))
    elif new.kind == WHOLE:
        psi["prompts"] = _psi_of_counts(*(Counter(table["prompt"]) for table in (before, after)))
    for name in _MEASURED:
        if name in before and name in after:
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
        near_duplicates=_near_duplicates(new),
    )


def _keys(look: Look) -> pd.Series:
    """The same picture under another caption is another datum."""
    return look.table["digest"] + ("\n" + look.table["prompt"] if look.kind == WITH_CAPTIONS else "")


def stability(old: NDArray[np.float64], new: NDArray[np.float64]) -> float:
    """The population stability index of a number, over ten bins with equally many of the first in each."""
    edges = np.unique(np.quantile(old, np.linspace(0, 1, _BINS + 1)[1:-1]))
    counts = (
        np.bincount(np.searchsorted(edges, each, "right"), minlength=len(edges) + 1) for each in (old, new)
    )
    before, after = (each / each.sum() for each in counts)
    return _index(before, after)


def _near_duplicates(look: Look) -> int | None:
    table, hashes = look.table, look.hashes
    if hashes is None:
        return None
    if look.kind == WITH_CAPTIONS:
        digests = table["digest"].to_numpy()
        _, once = np.unique(digests, return_index=True)  # the same picture under two captions is one
        return int(_alike(hashes[once]).sum())
    trained, judged = (hashes[table["split"].isin(splits).to_numpy()] for splits in (_TRAINED, _JUDGED))
    found = 0
    for first in range(0, len(judged), _AT_ONCE):
        apart = np.bitwise_count(judged[first : first + _AT_ONCE, None] ^ trained[None])
        found += int((apart <= _ALIKE).any(1).sum())
    return found


def _alike(hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which are like another, of as many as there are.

    Of two that differ in two bits at most, one of three parts is the same: so only those are compared that
    share one (multi-index hashing, Norouzi et al. 2012).
    """
    different, which, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    alike = counts > 1
    for part in range(_ALIKE + 1):
        keys = different >> np.uint64(22 * part) & np.uint64((1 << 22) - 1)
        order = np.argsort(keys, kind="stable")
        begins = np.flatnonzero(np.diff(keys[order], prepend=keys[order][:1] + np.uint64(1)))
        for begin, end in zip(begins, [*begins[1:], len(order)], strict=True):
            shared = order[begin:end]
            for start in range(0, len(shared), _AT_ONCE) if len(shared) > 1 else ():
                some = shared[start : start + _AT_ONCE]
                apart = np.bitwise_count(different[some, None] ^ different[None, shared])
                alike[some] |= (apart <= _ALIKE).sum(1) > 1
    return alike[which]


def _psi_of_words(*captions: Iterable[str]) -> float:
    """Of those that are a thousandth of all in one of the two; all others are one."""
    counts = [Counter(word for text in texts for word in _WORD.findall(text.lower())) for texts in captions]
    often = {word for each in counts for word, num in each.items() if num >= _FREQUENT * each.total()}
    lumped = []
    for each in counts:
        told = Counter({word: num for word, num in each.items() if word in often})
        lumped.append(told + Counter({"": each.total() - told.total()}))
    return _psi_of_counts(*lumped)


def _psi_of_counts(old: Counter[str], new: Counter[str]) -> float:
    names = sorted({*old, *new})
    before, after = (np.array([each[name] for name in names]) / max(each.total(), 1) for each in (old, new))
    return _index(before, after, min(_LEAST, 0.5 / max(old.total(), new.total(), 1)))


def _index(before: NDArray[np.float64], after: NDArray[np.float64], least: float = _LEAST) -> float:
    before, after = (np.maximum(each, least) for each in (before, after))
    return float(((after - before) * np.log(after / before)).sum())
