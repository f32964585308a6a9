"""Whether images look alike, whatever was done to their size, brightness or compression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def difference_hash(image: NDArray[np.float32]) -> int:
    """64 bits: which of two neighbours is lighter, on 8 x 9 points of an image (channels, height, width).

    Source: the "difference hash" of perceptual hashing.
    """
    levels = np.clip((image.mean(0) + 1) * 127.5, 0, 255).astype(np.uint8)
    small = np.asarray(Image.fromarray(levels).resize((9, 8), Image.Resampling.BILINEAR), np.int16)
    bits = (small[:, 1:] > small[:, :-1]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
