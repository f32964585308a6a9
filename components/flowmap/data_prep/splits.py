"""Splits by content: where an image goes depends on its pixels alone, so adding images never moves old
ones."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def content_digest(image: NDArray[np.float32]) -> str:
    """sha256 of an image's shape and its float32 values, little-endian, in hexadecimal."""
    header = "x".join(map(str, image.shape)).encode()
    return hashlib.sha256(header + np.ascontiguousarray(image, dtype="<f4").tobytes()).hexdigest()


def split_of(digest: str, shares: Mapping[str, float]) -> str:
    """The split that a digest falls into: its first 52 bits as a fraction, against the shares added up in
    order."""
    position = int(digest[:13], 16) / 16**13
    edge = 0.0
    for name, share in shares.items():
        edge += share
        if position < edge:
            return name
    return list(shares)[-1]  # the shares' sum may be a rounding error below 1
