"""Image files as arrays, and what to say of those that are none."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from flowmap.data.naming import first_line, named
from flowmap.errors import DataError
from flowmap.progress import say
from flowmap.settings import DataPrep

Pixels = NDArray[np.uint8]
_MAX_SIDE = 4096


class ImageReader:
    """Reads image files one after the other, and keeps what was wrong with each.

    `resize` is (height, width) or None: then all must have the size of the first.
    """

    def __init__(self, folder: Path, section: DataPrep) -> None:
        self.folder, self.section = folder, section
        self.unreadable: list[str] = []
        self.sizes: dict[tuple[int, int], str] = {}

    def read(self, name: str) -> Pixels | None:
        """(height, width, channels) of one file, or None when it can't be read."""
        try:
            with Image.open(self.folder / name) as image:
                if max(image.size) > _MAX_SIDE:
                    self.unreadable.append(f"{name} (of {image.width} x {image.height}, above {_MAX_SIDE})")
                    return None
                mode = self._mode(image)
                picture = image.convert("RGB" if mode == "rgb" else "L")
        except UnidentifiedImageError:
            self.unreadable.append(f"{name} (no image)")
            return None
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            self.unreadable.append(f"{name} ({first_line(error)})")
            return None
        if self.section.resize is not None:
            picture = resized(picture, self.section.resize)
        self.sizes.setdefault((picture.height, picture.width), name)
        levels = np.asarray(picture, dtype=np.uint8)
        return levels[..., None] if levels.ndim == 2 else levels

    def check(self) -> None:
        """Raise when more files were unreadable than allowed, or sizes differ."""
        allowed = self.section.max_unreadable
        if len(self.unreadable) > allowed:
            raise DataError(
                f"{self.folder}: {len(self.unreadable)} images can't be read (data_prep.max_unreadable "
                f"allows {allowed}): {named(self.unreadable)}"
            )
        if self.unreadable:
            say(f"data_prep: left out {len(self.unreadable)} unreadable images: {named(self.unreadable)}")
        if len(self.sizes) > 1:
            sizes = [f"{height} x {width} ({name})" for (height, width), name in self.sizes.items()]
            raise DataError(
                f"{self.folder}: images have {len(sizes)} sizes: {named(sizes)}; set data_prep.resize: "
                "[height, width]"
            )

    def _mode(self, image: Image.Image) -> Literal["grey", "rgb"]:
        if self.section.color != "auto":
            return self.section.color
        return "grey" if image.mode in ("1", "L", "LA", "I", "I;16") else "rgb"


def resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """To (height, width): means over areas when it gets smaller, bicubic when it gets larger."""
    height, width = size
    smaller = height <= picture.height and width <= picture.width
    return picture.resize((width, height), Image.Resampling.BOX if smaller else Image.Resampling.BICUBIC)


def normalised(levels: Iterable[Pixels], num_channels: int | None = None) -> NDArray[np.float32]:
    """(height, width, channels) arrays of 0 to 255 as (N, channels, height, width) in [-1, 1].

    Grey images among colour ones become colour, and all do when `num_channels` says so.
    """
    rows = list(levels)
    channels = num_channels or max(row.shape[2] for row in rows)
    stacked = np.stack([np.broadcast_to(row, (*row.shape[:2], channels)) for row in rows])
    return np.ascontiguousarray((stacked.astype(np.float32) / 127.5 - 1).transpose(0, 3, 1, 2))
