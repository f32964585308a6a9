"""What `flowmap init` sees of a user's images, and what it suggests for them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from flowmap.data.external import metadata_file
from flowmap.data.naming import named
from flowmap.data.tables import column_names
from flowmap.errors import DataError
from flowmap.modality.images.files import BROKEN, natural_mode, upright_size
from flowmap.modality.images.reading import read, read_metadata
from flowmap.modality.protocols import Look
from flowmap.settings import DataPrep

_LARGEST_SIDE = 32
# What tables of images call their prompts, the likeliest first.
_PROMPT_COLUMNS = ("prompt", "text", "caption", "label", "class", "category", "name")


@dataclass
class _Seen:
    """What was seen of all images.

    Attributes:
        sizes: how many have each (height, width).
        prompts: how many have each prompt.
        num_channels: 1 or 3.
        num_transparent: images of a kind that may be transparent.
        prompt_column: where a folder's table has the prompts.
    """

    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    prompts: Counter[str] = field(default_factory=Counter)
    num_channels: int = 1
    num_transparent: int = 0
    prompt_column: str = "prompt"


def look(source: Path, preferences: Path | None = None) -> Look:
    """Look at a folder or an .npz file. Raises DataError when it is not readable as images with prompts."""
    seen = _npz(source) if source.suffix == ".npz" else _folder(source, preferences)
    resize = _resize(seen.sizes)
    height, width = resize or next(iter(seen.sizes))
    told = named(f"{h} x {w} ({count} images)" for (h, w), count in seen.sizes.most_common())
    settings: dict[str, tuple[object, str]] = {
        "resize": (None if resize is None else list(resize), f"seen: {told}"),
        "max_unreadable": (0, "broken files to leave out before the run stops"),
    }
    if seen.num_transparent:
        settings["background"] = ([255, 255, 255], f"{seen.num_transparent} images may be transparent")
    if seen.prompt_column != "prompt":
        settings["prompt_column"] = (seen.prompt_column, "the column of the table that holds the prompts")
    return Look(
        prompts=seen.prompts,
        shape=(seen.num_channels, height, width),
        told=f"images of {height} x {width}",
        settings=settings,
    )


def _folder(folder: Path, preferences: Path | None) -> _Seen:
    seen = _Seen(prompt_column=_prompt_column(metadata_file(folder)))
    pairs = None if preferences is None else str(preferences)
    section = DataPrep(source=str(folder), prompt_column=seen.prompt_column, preferences=pairs)
    table = read_metadata(folder, section)
    for name in table["file_name"]:
        try:
            with Image.open(folder / name) as image:
                seen.sizes[upright_size(image)] += 1
                seen.num_channels = max(seen.num_channels, 1 if natural_mode(image) == "grey" else 3)
                seen.num_transparent += image.has_transparency_data
        except BROKEN:
            continue
    if not seen.sizes:
        raise DataError(f"{folder}: none of the {len(table)} files in its table is a readable image")
    seen.prompts.update(table["prompt"])
    return seen


def _prompt_column(table: Path | None) -> str:
    """The likeliest column of a table. Raises DataError when none looks like prompts."""
    if table is None:
        return "prompt"
    there = column_names(table)
    found = next((name for name in _PROMPT_COLUMNS if name in there), None)
    if found is None:
        raise DataError(
            f"{table} has none of the columns {', '.join(_PROMPT_COLUMNS)}, which hold prompts; it has "
            f"{', '.join(there)}: rename one, or write data_prep.prompt_column into a configuration"
        )
    return found


def _npz(path: Path) -> _Seen:
    found = read(DataPrep(source=str(path)))
    num, channels, height, width = found.data.shape
    return _Seen(Counter({(height, width): num}), Counter(found.prompts), channels)


def _resize(sizes: Counter[tuple[int, int]]) -> tuple[int, int] | None:
    """None for images of one small size; else the most frequent size, scaled down to 32 pixels a side at
    most."""
    (height, width), _ = sizes.most_common(1)[0]
    scale = min(1.0, _LARGEST_SIDE / max(height, width))
    if len(sizes) == 1 and scale == 1:
        return None
    return max(4, round(height * scale)), max(4, round(width * scale))
