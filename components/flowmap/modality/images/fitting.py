"""Pictures of any shape, fitted to one of a few sizes.

Source: aspect-ratio buckets, as NovelAI trained Stable Diffusion with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

Size = tuple[int, int]  # rows and columns


def nearest(size: Size, sizes: Sequence[Size]) -> int:
    """Which of the sizes has the aspect ratio that is nearest to that of a picture, by its logarithm."""
    ratio = math.log(size[0] / size[1])
    return min(range(len(sizes)), key=lambda index: abs(math.log(sizes[index][0] / sizes[index][1]) - ratio))


def fitted(picture: Image.Image, size: Size) -> NDArray[np.uint8]:
    """The middle of a picture that fills a size, (rows, columns, 3)."""
    rows, columns = size
    whole = ImageOps.fit(picture.convert("RGB"), (columns, rows), Image.Resampling.LANCZOS)
    return np.asarray(whole, dtype=np.uint8)
