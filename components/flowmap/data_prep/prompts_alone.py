"""Prompts without data, where there is nothing to train but by rewards.

The artifact is that of data: a table with a row for each prompt, and no datum in any split.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from flowmap.artifacts.digest import sha256_of
from flowmap.data.dataset import CAPTION, LABEL, write_dataset
from flowmap.data.external import local_path
from flowmap.data.facts import DataFacts
from flowmap.data.naming import first_line, named
from flowmap.data.prompts import normal_prompt
from flowmap.data.tables import read_rows
from flowmap.data_prep.prompts import prompt_facts
from flowmap.data_prep.validation import validate
from flowmap.errors import DataError
from flowmap.modality import modality_of
from flowmap.progress import say
from flowmap.prompts.facts import PromptFacts
from flowmap.settings import DataPrep
from flowmap.settings.data import SPLITS
from flowmap.steps.context import Context

_SPLIT = "prompts"
_MOST_CATEGORIES = 20
_LEAST_OF_EACH = 2  # prompts of a category, on average


def prepare(context: Context[DataPrep], section: DataPrep) -> None:
    """Write the artifact.

    Args: section: with its file at hand.

    Raises DataError: the file can't be read, or holds no prompt.
    """
    assert section.prompts is not None
    assert section.resize is not None
    found, num_read = read_prompts(local_path(section.prompts), section.prompt_column)
    prompts = tuple(sorted(found))
    known = _facts(section, prompts, found)
    digests = [sha256_of(prompt.encode()) for prompt in prompts]
    table = pd.DataFrame(
        {
            "id": [digest[:16] for digest in digests],
            "digest": digests,
            LABEL: range(len(prompts)),
            CAPTION: range(len(prompts)),
            "prompt": prompts,
            "length": [len(prompt) for prompt in prompts],
            "split": _SPLIT,
        }
    )
    expectations = validate(table, _SPLIT, section.expectations)
    context.expectations.extend(expectations)
    shape = (1 if section.color == "grey" else 3, *section.resize)
    facts = DataFacts(
        modality=modality_of(section),
        prompts=prompts,
        shape=shape,
        num_read=num_read,
        num_duplicates=num_read - len(prompts),
        splits=dict.fromkeys(SPLITS, 0),
        counts={},
        expectations=expectations,
        prompt_facts=known,
    )
    write_dataset(context.out, table, np.zeros((0, *shape), np.float32), facts)
    by = f", told apart by {' and '.join(known.attributes)}" if known and known.attributes else ""
    kept = 0 if known is None else len(prompts) - len(known.of_grpo(prompts))
    say(
        f"data_prep: {len(prompts)} prompts without data{by}; {facts.num_duplicates} duplicates, {kept} "
        "kept from GRPO"
    )


def read_prompts(path: Path, column: str) -> tuple[dict[str, dict[str, Any]], int]:
    """What each prompt demands, by its text in normal form, and how many rows there were.

    Raises DataError for a file that is none, an empty prompt, and one that stands there twice with different
    demands.
    """
    rows = _lines(path, column) if path.suffix == ".txt" else read_rows(path, column)
    found: dict[str, dict[str, Any]] = {}
    contrary = []
    for number, row in enumerate(rows, 1):
        text = normal_prompt(str(row[column]))
        if not text:
            raise DataError(f"{path}: row {number} has an empty {column}")
        demanded = {name: value for name, value in row.items() if name != column}
        if found.setdefault(text, demanded) != demanded:
            contrary.append(repr(text))
    if contrary:
        raise DataError(
            f"{path}: {len(contrary)} prompts stand there twice with different demands: {named(contrary)}"
        )
    if not found:
        raise DataError(f"{path}: holds no prompt")
    return found, len(rows)


def _lines(path: Path, column: str) -> list[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: can't be read: {first_line(error)}") from None
    return [{column: line} for line in text.splitlines() if line.strip()]


def _facts(
    section: DataPrep, prompts: tuple[str, ...], found: Mapping[str, Mapping[str, Any]]
) -> PromptFacts | None:
    """What they demand: categories, of which figures are told one by one, and everything else."""
    names = sorted({name for demanded in found.values() for name in demanded})
    categories = [name for name in names if _is_category([found[prompt].get(name) for prompt in prompts])]
    by_category = {prompt: {name: found[prompt][name] for name in categories} for prompt in prompts}
    known = prompt_facts(prompts, by_category if categories else {}, section.kept_prompts)
    told = tuple(
        {name: value for name, value in found[prompt].items() if name not in categories}
        for prompt in prompts
    )
    if not any(told):
        return known
    return (known or PromptFacts()).model_copy(update={"told": told})


def _is_category(values: list[Any]) -> bool:
    """Whether every prompt has one of a few words."""
    words = {value for value in values if isinstance(value, str)}
    return (
        all(isinstance(value, str) for value in values)
        and 1 < len(words) <= _MOST_CATEGORIES
        and len(words) * _LEAST_OF_EACH <= len(values)
    )
