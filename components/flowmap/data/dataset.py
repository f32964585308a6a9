"""The data artifact: one row an image in `table.parquet`, pixels in `images.safetensors`, facts in `data.json`.

write_dataset(directory, table, images, DataFacts(prompts=..., shape=(1, 8, 8), ...))
split = read_split(directory, "judge")       # images (N, channels, height, width), prompts (N,)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from safetensors.numpy import save_file
from safetensors.torch import load_file
from safetensors.torch import save_file as save_torch
from torch import Tensor

TABLE, IMAGES, FACTS, PREFERENCES = "table.parquet", "images.safetensors", "data.json", "preferences.safetensors"


class DataFacts(BaseModel):
    """What later steps need to know without reading pixels.

    Attributes:
        prompts: the prompts; an image's label is an index into them.
        shape: (channels, height, width) of every image.
        num_read: images in the source.
        num_duplicates: images dropped because the same pixels had been read before.
        splits: number of images of each split.
        counts: number of images of each prompt in each split.
        expectations: what was checked, as rows of name, column and figures.
        num_preferences: pairs in the user's own preference table that may be used; None without one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    prompts: tuple[str, ...]
    shape: tuple[int, int, int]
    num_read: int
    num_duplicates: int
    splits: dict[str, int]
    counts: dict[str, dict[str, int]]
    expectations: tuple[dict[str, Any], ...]
    num_preferences: int | None = None


@dataclass(frozen=True)
class Split:
    """Images of one split, (N, channels, height, width) in [-1, 1], and the index of each one's prompt, (N,)."""

    images: Tensor
    prompts: Tensor

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Preferences:
    """Pairs of images of one prompt each: (N, channels, height, width) twice, and the index of the prompt, (N,)."""

    chosen: Tensor
    rejected: Tensor
    prompts: Tensor

    def __len__(self) -> int:
        return len(self.prompts)


def write_dataset(directory: Path, table: pd.DataFrame, images: NDArray[np.float32], facts: DataFacts) -> None:
    """Write the artifact. Row i of `table` describes `images[i]`; its columns `label` and `split` are read again."""
    table.to_parquet(directory / TABLE, index=False)
    save_file({"images": np.ascontiguousarray(images)}, directory / IMAGES)
    (directory / FACTS).write_text(facts.model_dump_json(indent=1))


def read_facts(directory: Path) -> DataFacts:
    return DataFacts.model_validate_json((directory / FACTS).read_bytes())


def read_split(directory: Path, split: str) -> Split:
    """The images and prompts of one split, in the table's order."""
    table = pd.read_parquet(directory / TABLE, columns=["label", "split"])
    chosen = np.flatnonzero((table["split"] == split).to_numpy())
    images = load_file(directory / IMAGES)["images"]
    labels = table["label"].to_numpy(dtype=np.int64)[chosen]
    return Split(images[torch.from_numpy(chosen)], torch.from_numpy(labels))


def write_preferences(directory: Path, preferences: Preferences) -> None:
    tensors = {"chosen": preferences.chosen, "rejected": preferences.rejected, "prompts": preferences.prompts}
    save_torch(tensors, directory / PREFERENCES)


def read_preferences(directory: Path) -> Preferences | None:
    """The user's own pairs, when there are any."""
    if not (directory / PREFERENCES).is_file():
        return None
    return Preferences(**load_file(directory / PREFERENCES))
