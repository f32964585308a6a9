"""What `flowmap init` sees of a user's images, and what it suggests for them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from flowmap.data.naming import named
from flowmap.errors import DataError
from flowmap.modality.images.reading import read, read_metadata
from flowmap.modality.protocols import Look
from flowmap.settings import DataPrep

_LARGEST_SIDE = 32
Sizes = Counter[tuple[int, int]]


def look(source: Path) -> Look:
    """Look at a folder or an .npz file. Raises DataError when it is not readable as images with prompts."""
    sizes, prompts, num_channels = _npz(source) if source.suffix == ".npz" else _folder(source)
    resize = _resize(sizes)
    height, width = resize or next(iter(sizes))
    seen = named(f"{h} x {w} ({count} images)" for (h, w), count in sizes.most_common())
    return Look(
        prompts=prompts,
        shape=(num_channels, height, width),
        told=f"images of {height} x {width}",
        lines=(
            f"resize: {'null' if resize is None else list(resize)}    # seen: {seen}",
            "max_unreadable: 0   # broken files to leave out before the run stops",
        ),
    )


def _folder(folder: Path) -> tuple[Sizes, Counter[str], int]:
    table = read_metadata(folder)
    sizes: Sizes = Counter()
    channels = 1
    for name in table["file_name"]:
        try:
            with Image.open(folder / name) as image:
                sizes[(image.height, image.width)] += 1
                channels = max(channels, 1 if image.mode in ("1", "L", "LA", "I;16") else 3)
        except (OSError, Image.DecompressionBombError):
            continue
    if not sizes:
        raise DataError(f"{folder}: none of the {len(table)} files in its table is a readable image")
    return sizes, Counter(table["prompt"]), channels


def _npz(path: Path) -> tuple[Sizes, Counter[str], int]:
    found = read(DataPrep(source=str(path)))
    num, channels, height, width = np.shape(found.data)
    return Counter({(height, width): num}), Counter(found.prompts), channels


def _resize(sizes: Sizes) -> tuple[int, int] | None:
    """None for images of one small size; else the most frequent size, scaled down to 32 pixels a side at
    most."""
    (height, width), _ = sizes.most_common(1)[0]
    scale = min(1.0, _LARGEST_SIDE / max(height, width))
    if len(sizes) == 1 and scale == 1:
        return None
    return max(4, round(height * scale)), max(4, round(width * scale))
