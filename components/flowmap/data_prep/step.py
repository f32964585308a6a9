"""Data preparation, from the source to four disjoint splits.

Read, normalise to [-1, 1], drop exact duplicates, split by content, validate, write sorted by content. No
choice depends on the order or the number of images, so an image stays in its split when others come, and the
same images in another order are the same artifact.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flowmap.artifacts.digest import sha256_of
from flowmap.data.dataset import (
    CAPTION,
    LABEL,
    ORIGIN,
    read_facts,
    write_contexts,
    write_dataset,
    write_preferences,
)
from flowmap.data.facts import DataFacts
from flowmap.data.holding_out import content_digest
from flowmap.data.naming import named
from flowmap.data.prompts import differ_by_case
from flowmap.data.remote import fetch_source, is_remote
from flowmap.data_prep import captioned, prompts_alone
from flowmap.data_prep.excluding import without_excluded
from flowmap.data_prep.occasions import contexts, in_splits, occasion_facts
from flowmap.data_prep.preferences import read_preferences
from flowmap.data_prep.prompts import prompt_facts, with_captions
from flowmap.data_prep.splits import split_of
from flowmap.data_prep.validation import validate
from flowmap.errors import DataError
from flowmap.modality import modality_of, reading
from flowmap.modality.protocols import Read
from flowmap.progress import say
from flowmap.settings import DataPrep
from flowmap.steps.context import Context

_MAX_PROMPT = 2000
_CAPTIONED = "captioned.source"


def run(context: Context[DataPrep]) -> None:
    with _at_hand(context.section, context.scratch) as section:
        if section.prompts is not None:
            prompts_alone.prepare(context, section)
            if section.captioned is not None:
                captioned.encode(context, section, read_facts(context.out).prompts)
        else:
            _prepare(context, section)


@contextlib.contextmanager
def _at_hand(section: DataPrep, scratch: Path) -> Iterator[DataPrep]:
    """The section with its data on this machine's disk; errors name them as the user does."""
    given = {name: getattr(section, name) or "" for name in ("source", "preferences", "prompts")}
    if section.captioned is not None:
        given[_CAPTIONED] = section.captioned.source
    remote = {setting: name for setting, name in given.items() if is_remote(name)}
    copies = {setting: str(fetch_source(name, scratch / setting)) for setting, name in remote.items()}
    here: dict[str, Any] = {name: copy for name, copy in copies.items() if name != _CAPTIONED}
    if section.captioned is not None and _CAPTIONED in copies:
        here["captioned"] = section.captioned.model_copy(update={"source": copies[_CAPTIONED]})
    try:
        yield section.model_copy(update=here)
    except DataError as error:
        told = str(error)
        for setting, copy in copies.items():
            told = told.replace(copy, remote[setting])
        raise DataError(told) from error


def _prepare(context: Context[DataPrep], section: DataPrep) -> None:
    modality = modality_of(section)
    reader = reading(modality)
    found = in_splits(reader.read(section))
    check_prompts(found)
    prompts = tuple(sorted(set(found.prompts)))
    described = describe(found, prompts)
    everything, excluded = without_excluded(described, section.exclude)
    told_apart = without_conflicts(everything, section.max_conflicts)
    table = told_apart.sort_values(["digest", "id"]).drop_duplicates("digest")
    num_different = len(table)
    shares = section.shares.model_dump()
    if found.splits is None:
        table = table.assign(split=[split_of(digest, shares) for digest in table[ORIGIN]])
        known = prompt_facts(prompts, found.attributes, section.kept_prompts)
    else:
        table = table.assign(split=[found.splits[row] for row in table.index])
        known = occasion_facts(found, prompts)
    never_seen = [] if known is None else list(known.never_seen)
    table = table[~((table["split"] == "base") & table["prompt"].isin(never_seen))]
    kept = found.data[table.index.to_numpy()]
    table = table.reset_index(drop=True)
    if found.origins is None:
        table = table.drop(columns=ORIGIN)
    table = with_captions(table, prompts, section.caption_noise, known)
    expectations = validate(table, modality, section.expectations)
    context.expectations.extend(expectations)
    counts = {} if found.splits else images_of_each_prompt(table, prompts, tuple(shares), never_seen)
    splits = table["split"].value_counts()
    kept_apart = excluded | set(table["digest"][table["split"].isin(("judge", "holdout"))])
    preferences = read_preferences(section, reader, prompts, kept_apart, kept.shape[1:])
    if preferences is not None:
        write_preferences(context.out, preferences)
    facts = DataFacts(
        modality=modality,
        prompts=prompts,
        shape=kept.shape[1:],
        num_read=len(described),
        num_duplicates=len(told_apart) - num_different,
        num_conflicts=len(everything) - len(told_apart),
        num_excluded=len(described) - len(everything),
        num_miscaptioned=int((table[CAPTION] != table[LABEL]).sum()),
        splits={name: int(splits[name]) for name in shares},
        counts=counts,
        expectations=expectations,
        num_preferences=None if preferences is None else len(preferences),
        prompt_facts=known,
        context=None if found.context is None else found.context.shape[1:],
    )
    if not found.named:  # where data have no names of their own, their row must not decide the artifact
        table["id"] = table["digest"].str[:16]
    write_dataset(context.out, table, kept, facts)
    if found.context is not None:
        write_contexts(context.out, contexts(found, prompts))
    told = ", ".join(f"{name} {num}" for name, num in facts.splits.items())
    size = " x ".join(map(str, facts.shape))
    say(
        f"data_prep: {len(table)} {modality} of {size}, {len(prompts)} prompts, {facts.num_duplicates} "
        f"duplicates; {told}"
    )


def check_prompts(found: Read) -> None:
    """Raise DataError for empty prompts and for texts that are none; say which are easily confused."""
    empty = [name for name, prompt in zip(found.ids, found.prompts, strict=True) if not prompt.strip()]
    if empty:
        raise DataError(f"{len(empty)} images have an empty prompt: {named(empty)}")
    counts = Counter(found.prompts)
    if alike := differ_by_case(counts):
        say(f"data_prep: prompts that differ by capitals alone count as different: {named(alike)}")
    long = [name for name, prompt in zip(found.ids, found.prompts, strict=True) if len(prompt) > _MAX_PROMPT]
    if long:
        raise DataError(
            f"{len(long)} images have a prompt of more than {_MAX_PROMPT} characters: {named(long)}"
        )


def without_conflicts(table: pd.DataFrame, allowed: int) -> pd.DataFrame:
    """The rows but those of data that stand under several prompts: which of them is right, nobody knows.

    Raises:
        DataError: naming them and their prompts, when there are more than `allowed`.
    """
    conflicting = table.groupby("digest")["prompt"].transform("nunique") > 1
    if not conflicting.any():
        return table
    groups = table[conflicting].sort_values(["digest", "prompt", "id"]).groupby("digest")
    told = [
        " = ".join(f"{name} ({prompt!r})" for name, prompt in zip(group["id"], group["prompt"], strict=True))
        for _, group in groups
    ]
    if len(told) > allowed:
        raise DataError(
            f"{len(told)} images stand under several prompts (data_prep.max_conflicts allows {allowed}): "
            f"{named(told)}; correct their prompts, or leave them out"
        )
    say(f"data_prep: left out {len(told)} images that stand under several prompts: {named(told)}")
    return table[~conflicting]


def describe(found: Read, prompts: tuple[str, ...]) -> pd.DataFrame:
    """One row a datum: what can be checked without looking at it again."""
    flat = found.data.reshape(len(found.data), -1)
    index = {prompt: label for label, prompt in enumerate(prompts)}
    digests = [content_digest(datum) for datum in _whole(found)]
    return pd.DataFrame(
        {
            "id": found.ids,
            "digest": digests,
            "shape": ["x".join(map(str, datum.shape)) for datum in found.data],
            "label": [index[prompt] for prompt in found.prompts],
            "prompt": found.prompts,
            "min": flat.min(1),
            "max": flat.max(1),
            "mean": flat.mean(1),
            ORIGIN: digests if found.origins is None else [_digest_of(name) for name in found.origins],
        }
    )


def _whole(found: Read) -> NDArray[np.float32]:
    """Each datum, and before it what it came of."""
    return found.data if found.context is None else np.concatenate([found.context, found.data], 1)


def _digest_of(origin: str) -> str:
    return sha256_of(origin.encode())


def images_of_each_prompt(
    table: pd.DataFrame,
    prompts: tuple[str, ...],
    splits: tuple[str, ...],
    never_seen: Sequence[str] = (),
) -> dict[str, dict[str, int]]:
    """How many images each prompt has in each split; the base split has none of what is `never_seen`.

    Raises:
        DataError: naming the prompts with too few images for all splits, and how many each has.
    """
    found = pd.crosstab(table["prompt"], table["split"])
    found = found.reindex(index=list(prompts), columns=list(splits), fill_value=0)
    counts = {str(prompt): {split: int(row[split]) for split in splits} for prompt, row in found.iterrows()}
    lacking = {
        prompt: [
            split for split, num in row.items() if not num and (split != "base" or prompt not in never_seen)
        ]
        for prompt, row in counts.items()
    }
    short = [
        f"{prompt!r} ({sum(counts[prompt].values())} images, none in {', '.join(missing)})"
        for prompt, missing in lacking.items()
        if missing
    ]
    if short:
        raise DataError(
            f"{len(short)} of {len(counts)} prompts have too few images for the splits {', '.join(splits)}: "
            f"{named(short)}; add images of them or leave them out"
        )
    return counts
