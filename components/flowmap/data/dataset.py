"""The data artifact: one row a datum in `table.parquet`, the data in `data.safetensors`, facts in
`data.json`.

write_dataset(directory, table, data, DataFacts(prompts=..., shape=(1, 8, 8), ...))
split = read_split(directory, "judge")       # data (N, *shape), prompts (N,)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyarrow import parquet
from safetensors.numpy import save_file

from flowmap.data.facts import FACTS, DataFacts

if TYPE_CHECKING:  # whoever only writes data does without it
    from torch import Tensor

# The columns of prompts: what a datum shows, and what the base is told of it.
LABEL, CAPTION = "label", "caption"
ORIGIN = "origin"  # the column that says which data come from one thing, where some do
TABLE, DATA, PREFERENCES = "table.parquet", "data.safetensors", "preferences.safetensors"
CONTEXTS = "contexts.safetensors"


@dataclass(frozen=True)
class Split:
    """Data of one split.

    Attributes:
        data: (N, *shape), in about [-1, 1].
        prompts: the index of each one's prompt, (N,).
        origins: the digest of what each was made from, where several come from one.
    """

    data: Tensor
    prompts: Tensor
    origins: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.data)


@dataclass(frozen=True)
class Preferences:
    """Pairs of one prompt each: data (N, *shape) twice, and the index of the prompt, (N,)."""

    chosen: Tensor
    rejected: Tensor
    prompts: Tensor

    def __len__(self) -> int:
        return len(self.prompts)


def write_dataset(directory: Path, table: pd.DataFrame, data: NDArray[np.float32], facts: DataFacts) -> None:
    """Write the artifact.

    Row i of `table` describes `data[i]`; its columns `label`, `caption` and `split` are read again.
    """
    table.to_parquet(directory / TABLE, index=False)
    save_file({"data": np.ascontiguousarray(data)}, directory / DATA)
    (directory / FACTS).write_text(facts.model_dump_json(indent=1))


def write_contexts(directory: Path, contexts: NDArray[np.float32]) -> None:
    """What is known beforehand at each prompt, (prompts, *context)."""
    save_file({"contexts": np.ascontiguousarray(contexts)}, directory / CONTEXTS)


def read_contexts(directory: Path) -> Tensor | None:
    """The same, or None where prompts say all there is to say."""
    from safetensors.torch import load_file

    return load_file(directory / CONTEXTS)["contexts"] if (directory / CONTEXTS).is_file() else None


def read_facts(directory: Path) -> DataFacts:
    return DataFacts.model_validate_json((directory / FACTS).read_bytes())


def read_split(directory: Path, split: str, prompts: str = LABEL) -> Split:
    """The data and prompts of one split, in the table's order.

    `prompts` is the column that they are taken from.
    """
    import torch
    from safetensors.torch import load_file

    there = parquet.read_schema(directory / TABLE).names
    columns = [prompts, "split", *({ORIGIN} & set(there))]
    table = pd.read_parquet(directory / TABLE, columns=columns)
    chosen = np.flatnonzero((table["split"] == split).to_numpy())
    data = load_file(directory / DATA)["data"]
    labels = table[prompts].to_numpy(dtype=np.int64)[chosen]
    origins = tuple(table[ORIGIN].iloc[chosen]) if ORIGIN in table else None
    return Split(data[torch.from_numpy(chosen)], torch.from_numpy(labels), origins)


def write_preferences(directory: Path, preferences: Preferences) -> None:
    from safetensors.torch import save_file as save_torch

    tensors = {
        "chosen": preferences.chosen,
        "rejected": preferences.rejected,
        "prompts": preferences.prompts,
    }
    save_torch(tensors, directory / PREFERENCES)


def read_preferences(directory: Path) -> Preferences | None:
    """The user's own pairs, when there are any."""
    from safetensors.torch import load_file

    if not (directory / PREFERENCES).is_file():
        return None
    return Preferences(**load_file(directory / PREFERENCES))
