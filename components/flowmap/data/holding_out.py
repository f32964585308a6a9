"""Which data are kept from training to say how well it went: chosen by content, within each prompt.

    unseen = held_out(content_digests(real.data), real.prompts)      # (N,) of booleans
    real.data[unseen], real.data[~unseen]

Never a slice of what a source happens to list first: sources are often sorted by class.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from flowmap.data.dataset import Split

_ONE_IN = 5


def content_digest(datum: NDArray[np.float32]) -> str:
    """sha256 of a datum's shape and its float32 values, little-endian, in hexadecimal."""
    header = "x".join(map(str, datum.shape)).encode()
    return hashlib.sha256(header + np.ascontiguousarray(datum, dtype="<f4").tobytes()).hexdigest()


def content_digests(data: Tensor) -> list[str]:
    """That of each datum, data (N, *shape)."""
    return [content_digest(datum) for datum in data.numpy()]


def apart(split: Split) -> Tensor:
    """The data of a split that are kept from training, as a mask (N,).

    Where several data come from one thing, that is kept apart with all that came of it: one of five.
    """
    import torch

    if split.origins is None:
        return held_out(content_digests(split.data), split.prompts)
    return torch.tensor([int(origin[:8], 16) % _ONE_IN == 0 for origin in split.origins])


def held_out(digests: Sequence[str], prompts: Tensor) -> Tensor:
    """One in five of the different digests of each prompt, at least one where it has two, as a mask (N,).

    Neither the order of the data nor their number moves a datum much: it is the smallest digests that are
    kept apart. Of data with the same digest all are, or none.

    Args:
        digests: of the data, (N,).
        prompts: the index of each one's prompt, (N,).
    """
    import torch

    of_prompt: dict[int, set[str]] = defaultdict(set)
    labels = prompts.tolist()
    for digest, label in zip(digests, labels, strict=True):
        of_prompt[label].add(digest)
    apart = {
        label: set(sorted(different)[: max(1, len(different) // _ONE_IN)]) if len(different) > 1 else set()
        for label, different in of_prompt.items()
    }
    if not any(apart.values()) and len(digests) > 1:  # one datum a prompt: then one of all
        first = min(zip(digests, labels, strict=True))
        apart[first[1]] = {first[0]}
    return torch.tensor([digest in apart[label] for digest, label in zip(digests, labels, strict=True)])
