"""Image files as arrays, and what to say of those that are none."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from flowmap.data.naming import first_line, named
from flowmap.errors import DataError
from flowmap.progress import say
from flowmap.settings import DataPrep

Pixels = NDArray[np.uint8]
_MAX_SIDE = 4096
_SIDEWAYS = (5, 6, 7, 8)  # values of EXIF's orientation that swap height and width
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_GREY = ("1", "L", "LA", "La", "I", "F", *_SIXTEEN_BITS)
# What libraries raise for files that are damaged, besides OSError: a codec of its own speaks its own tongue.
BROKEN = (OSError, SyntaxError, ValueError, RuntimeError, EOFError, Image.DecompressionBombError)


class ImageReader:
    """Reads image files one after the other, and keeps what was wrong with each, or laid over.

    `resize` is (height, width) or None: then all must have the size of the first.
    """

    def __init__(self, folder: Path, section: DataPrep) -> None:
        self.folder, self.section = folder, section
        self.unreadable: list[str] = []
        self.transparent: list[str] = []
        self.animated: list[str] = []
        self.sizes: dict[tuple[int, int], str] = {}

    def read(self, name: str) -> Pixels | None:
        """(height, width, channels) of one file, or None when it can't be read."""
        picture = self.open(name)
        if picture is None:
            return None
        if self.section.resize is not None:
            picture = resized(picture, self.section.resize)
        self.sizes.setdefault((picture.height, picture.width), name)
        levels = np.asarray(picture, dtype=np.uint8)
        return levels[..., None] if levels.ndim == 2 else levels

    def open(self, name: str) -> Image.Image | None:
        """One file as it is meant to be looked at, in 8 bits a channel, or None when it can't be read."""
        try:
            with Image.open(self.folder / name) as image:
                if max(image.size) > _MAX_SIDE:
                    self.unreadable.append(f"{name} (of {image.width} x {image.height}, above {_MAX_SIDE})")
                    return None
                if getattr(image, "n_frames", 1) > 1:
                    self.animated.append(name)
                mode = self._mode(image)
                upright = ImageOps.exif_transpose(image)
                if is_transparent(upright):
                    self.transparent.append(name)
                picture = opaque(in_levels(upright, image.format), self.section.background)
                return picture.convert("RGB" if mode == "rgb" else "L")
        except UnidentifiedImageError:
            self.unreadable.append(f"{name} (no image)")
            return None
        except BROKEN as error:
            self.unreadable.append(f"{name} ({first_line(error)})")
            return None

    def check_readable(self) -> None:
        """Raise when more files were unreadable than allowed."""
        allowed = self.section.max_unreadable
        if len(self.unreadable) > allowed:
            raise DataError(
                f"{self.folder}: {len(self.unreadable)} images can't be read (data_prep.max_unreadable "
                f"allows {allowed}): {named(self.unreadable)}"
            )

    def check(self) -> None:
        """The same, or when sizes differ; say what was done to some."""
        self.check_readable()
        if self.unreadable:
            say(f"data_prep: left out {len(self.unreadable)} unreadable images: {named(self.unreadable)}")
        if self.transparent:
            say(
                f"data_prep: {len(self.transparent)} images have transparent parts, and were laid on "
                f"data_prep.background {list(self.section.background)}: {named(self.transparent)}"
            )
        if self.animated:
            one = "only the first is used"
            say(f"data_prep: {len(self.animated)} images have several frames, {one}: {named(self.animated)}")
        if len(self.sizes) > 1:
            sizes = [f"{height} x {width} ({name})" for (height, width), name in self.sizes.items()]
            raise DataError(
                f"{self.folder}: images have {len(sizes)} sizes: {named(sizes)}; set data_prep.resize: "
                "[height, width]"
            )

    def _mode(self, image: Image.Image) -> Literal["grey", "rgb"]:
        return self.section.color if self.section.color != "auto" else natural_mode(image)


def natural_mode(image: Image.Image) -> Literal["grey", "rgb"]:
    """What an image is by itself."""
    return "grey" if image.mode in _GREY else "rgb"


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(height, width) as it is meant to be looked at: a camera may note that it was held on its side."""
    sideways = image.getexif().get(ExifTags.Base.Orientation) in _SIDEWAYS
    return (image.width, image.height) if sideways else (image.height, image.width)


def is_transparent(image: Image.Image) -> bool:
    """Whether any of its pixels lets through what lies behind."""
    if not image.has_transparency_data:
        return False
    alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    return bool((alpha < 255).any())


def in_levels(image: Image.Image, file_format: str | None) -> Image.Image:
    """An image of 8 bits a channel: others are scaled by the range of their file's format.

    Raises:
        ValueError: the format has no range that its values could be scaled by.
    """
    if image.mode in _SIXTEEN_BITS or (image.mode == "I" and file_format == "PPM"):
        return _grey(np.asarray(image).astype(np.float64) / (2**16 - 1))
    if image.mode == "I":
        raise ValueError("of 32 bits, which have no range; save it with 8 or 16")
    if image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        low, high = values.min(), values.max()
        if not (low >= 0 and high <= 1):
            raise ValueError(f"with values from {low:g} to {high:g}; expected fractions from 0 to 1")
        return _grey(values)
    return image


def opaque(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """An image laid on a background where it is transparent."""
    if not image.has_transparency_data:
        return image
    below = Image.new("RGBA", image.size, (*background, 255))
    return Image.alpha_composite(below, image.convert("RGBA")).convert("RGB")


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


def _grey(fractions: NDArray[np.float64]) -> Image.Image:
    """From values of 0 to 1."""
    return Image.fromarray(np.round(fractions * 255).astype(np.uint8))
