"""Data preparation, from the source to four disjoint splits.

Read, normalise to [-1, 1], drop exact duplicates, split by content, validate, write. No choice depends on the order or
the number of images, so an image stays in its split when others come.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flowmap.data.dataset import DataFacts, write_dataset
from flowmap.data_prep.splits import content_digest, split_of
from flowmap.data_prep.validation import validate
from flowmap.progress import say
from flowmap.step import Context


def run(context: Context) -> None:
    images, labels = digits()
    prompts = tuple(str(label) for label in sorted(set(labels.tolist())))
    everything = describe(images, labels, prompts)
    table = everything.drop_duplicates("digest")
    kept = images[table.index.to_numpy()]
    shares = context.config.data_prep.shares.model_dump()
    table = table.assign(split=[split_of(digest, shares) for digest in table["digest"]]).reset_index(drop=True)
    facts = DataFacts(
        prompts=prompts,
        shape=kept.shape[1:],
        num_read=len(everything),
        num_duplicates=len(everything) - len(table),
        splits={name: int((table["split"] == name).sum()) for name in shares},
        expectations=validate(table),
    )
    write_dataset(context.out, table, kept, facts)
    say(f"data_prep: {len(table)} images, {len(prompts)} prompts, {facts.num_duplicates} duplicates; {facts.splits}")


def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """scikit-learn's 1,797 scanned digits, (N, 1, 8, 8) in [-1, 1], and their labels (N,)."""
    from sklearn.datasets import load_digits

    source = load_digits()
    return (source.images[:, None] / 8 - 1).astype(np.float32), source.target.astype(np.int64)


def describe(images: NDArray[np.float32], labels: NDArray[np.int64], prompts: tuple[str, ...]) -> pd.DataFrame:
    """One row an image: what can be checked without looking at pixels again."""
    flat = images.reshape(len(images), -1)
    return pd.DataFrame(
        {
            "id": [f"digits/{index:04d}" for index in range(len(images))],
            "digest": [content_digest(image) for image in images],
            "shape": ["x".join(map(str, image.shape)) for image in images],
            "label": labels,
            "prompt": [prompts[label] for label in labels],
            "min": flat.min(1),
            "max": flat.max(1),
            "mean": flat.mean(1),
        }
    )
