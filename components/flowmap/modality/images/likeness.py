"""Whether images look alike, whatever was done to their size, brightness or compression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class Seen:
    """What is kept of a picture, for one who has no picture.

    Attributes:
        brightness, contrast: mean and standard deviation of its levels, as numbers from -1 to 1.
        likeness: its difference hash.
    """

    brightness: float
    contrast: float
    likeness: int


def seen(picture: NDArray[np.uint8]) -> Seen:
    """Of a picture (rows, columns, 3). The sums are those of whole numbers, the same on every machine."""
    image = Image.fromarray(picture)
    counts = np.array(image.histogram()).reshape(-1, 256).sum(0)
    levels, num = np.arange(256), int(counts.sum())
    total, squares = int((counts * levels).sum()), int((counts * levels**2).sum())
    variance = (num * squares - total**2) / num**2
    return Seen(
        brightness=total / num / 127.5 - 1,
        contrast=float(np.sqrt(variance)) / 127.5,
        likeness=_hash(image.convert("L")),
    )


def difference_hash(image: NDArray[np.float32]) -> int:
    """64 bits: which of two neighbours is lighter, on 8 x 9 points of an image (channels, height, width).

    Source: the "difference hash" of perceptual hashing.
    """
    levels = np.clip((image.mean(0) + 1) * 127.5, 0, 255).astype(np.uint8)
    return _hash(Image.fromarray(levels))


def _hash(grey: Image.Image) -> int:
    small = np.asarray(grey.resize((9, 8), Image.Resampling.BILINEAR), np.int16)
    bits = (small[:, 1:] > small[:, :-1]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
