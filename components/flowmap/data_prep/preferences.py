"""The user's own preference table: `prompt`, `chosen`, `rejected`, the latter two as names of files in the
folder.

A pair that shows an image of the judge's or the holdout split is left out: what judges a model must not have
taught it. Images that are in no split, such as rejected samples of an older model, may be used freely.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from flowmap.data.dataset import Preferences
from flowmap.data.external import local_path
from flowmap.data.holding_out import content_digest
from flowmap.data.naming import named, outside_names
from flowmap.data.prompts import normal_prompt
from flowmap.data.tables import PREFERENCE_COLUMNS, read_table
from flowmap.data_prep.excluding import is_meant
from flowmap.errors import DataError
from flowmap.modality.protocols import Reading
from flowmap.progress import say
from flowmap.settings import DataPrep


def read_preferences(
    section: DataPrep,
    reading: Reading,
    prompts: tuple[str, ...],
    kept_apart: set[str],
    shape: tuple[int, ...],
) -> Preferences | None:
    """The pairs that may be used, or None where the configuration names no table.

    Args:
        prompts: what a prompt's index means.
        kept_apart: content digests of the images of the judge's and the holdout split, and of those that
            are left out.
        shape: of one datum.

    Raises:
        DataError: unknown files or prompts, unreadable images or images of another size, or no pair left.
    """
    if section.preferences is None:
        return None
    import torch

    path, folder = local_path(section.preferences), local_path(section.source)
    table = read_table(path, PREFERENCE_COLUMNS)
    table = table.assign(prompt=[normal_prompt(text) for text in table["prompt"]])
    _check_names(path, folder, table, prompts)
    names = sorted({*table["chosen"], *table["rejected"]})
    images = reading.read_files(section, folder, names, shape)
    table = table[table["chosen"].isin(images) & table["rejected"].isin(images)]
    digests = {name: content_digest(pixels) for name, pixels in images.items()}
    apart = {
        name
        for name, digest in digests.items()
        if digest in kept_apart or is_meant(section.exclude, name, digest)
    }
    usable = table[~table["chosen"].isin(apart) & ~table["rejected"].isin(apart)]
    if usable.empty:
        raise DataError(
            f"{path}: none of the {len(table)} pairs is free of images kept for judging; add pairs"
        )
    say(
        f"data_prep: {len(usable)} preferences; {len(table) - len(usable)} left out, for they show images "
        "kept apart"
    )
    return Preferences(
        chosen=torch.from_numpy(np.stack([images[name] for name in usable["chosen"]])),
        rejected=torch.from_numpy(np.stack([images[name] for name in usable["rejected"]])),
        prompts=torch.tensor([prompts.index(prompt) for prompt in usable["prompt"]]),
    )


def _check_names(path: Path, folder: Path, table: pd.DataFrame, prompts: tuple[str, ...]) -> None:
    files = sorted({*table["chosen"], *table["rejected"]})
    if outside := outside_names(files):
        raise DataError(f"{path}: {len(outside)} file names lead out of {folder}: {named(outside)}")
    if unknown := [name for name in files if not (folder / name).is_file()]:
        raise DataError(f"{path}: {len(unknown)} files are not in {folder}: {named(unknown)}")
    if strange := sorted(set(table["prompt"]) - set(prompts)):
        raise DataError(
            f"{path}: {len(strange)} prompts are not among the data's: {named(map(repr, strange))}"
        )
