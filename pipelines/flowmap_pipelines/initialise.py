"""`flowmap init`: look at a user's images and write the configuration for them, with comments."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from flowmap.base_training.sizes import with_sizes
from flowmap.config import DataPrep, RunConfig
from flowmap.data_prep.images import named
from flowmap.data_prep.sources import read_metadata, read_source
from flowmap.errors import DataError

_LARGEST_SIDE = 32
_FEW = 25


@dataclass(frozen=True)
class Look:
    """What was found: sizes (height, width) of the images with their counts, and images of each prompt."""

    sizes: Counter[tuple[int, int]]
    prompts: Counter[str]
    num_channels: int


def write_configuration(source: Path, preferences: Path | None, output: Path) -> str:
    """Write a configuration for `source`, a folder or an .npz file, and return what was seen in one sentence.

    Raises:
        DataError: the source is not readable as images with prompts.
    """
    look = _look_at_npz(source) if source.suffix == ".npz" else _look_at_folder(source)
    name = re.sub(r"[^a-z0-9._-]+", "-", source.stem.lower()).strip("-._") or "model"
    resize = _resize(look)
    height, width = resize or next(iter(look.sizes))
    num = sum(look.prompts.values())
    sizes = with_sizes(RunConfig(name="x").base_training, (look.num_channels, height, width), num // 2)
    few = [f"{prompt!r} ({count})" for prompt, count in look.prompts.items() if count < _FEW]
    lines = [
        f"# {num} images for {len(look.prompts)} prompts: {named(repr(prompt) for prompt in sorted(look.prompts))}",
        *([f"# Few images of {named(few)}: four splits share them, and every split needs some."] if few else []),
        f"name: {name}",
        "data_prep:",
        f"  source: {source.absolute()}",
        f"  resize: {'null' if resize is None else list(resize)}"
        f"    # seen: {named(f'{h} x {w} ({count} images)' for (h, w), count in look.sizes.most_common())}",
        "  max_unreadable: 0   # broken files to leave out before the run stops",
        *([f"  preferences: {preferences.absolute()}"] if preferences else ["  # preferences: pairs.csv"]),
        "# Everything below may go: these are the values that the run would choose by itself.",
        "base_training:",
        f"  width: {sizes.width}",
        f"  updates: {sizes.updates}     # of the map; the baseline gets twice as many",
        "grpo_finetuning:",
        "  grid: [1, 0.683, 0.367, 0.05, 0]   # 4 map evaluations a sample",
        "  rollouts: 60",
        "  kl_target: 0.25     # nats a transition: how far the policy may leave the base",
        "evaluation:",
        "  frechet_tolerance: 0.1     # the gate: at most 10 % above the incumbent's",
    ]
    output.write_text("\n".join(lines) + "\n")
    return f"{num} images of {height} x {width}, {len(look.prompts)} prompts"


def _look_at_folder(folder: Path) -> Look:
    table = read_metadata(folder)
    sizes: Counter[tuple[int, int]] = Counter()
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
    return Look(sizes, Counter(table["prompt"]), channels)


def _look_at_npz(path: Path) -> Look:
    images = read_source(DataPrep(source=str(path)))
    num, channels, height, width = np.shape(images.pixels)
    return Look(Counter({(height, width): num}), Counter(images.prompts), channels)


def _resize(look: Look) -> tuple[int, int] | None:
    """None for images of one small size; else the most frequent size, scaled down to 32 pixels a side at most."""
    (height, width), _ = look.sizes.most_common(1)[0]
    scale = min(1.0, _LARGEST_SIDE / max(height, width))
    if len(look.sizes) == 1 and scale == 1:
        return None
    return max(4, round(height * scale)), max(4, round(width * scale))
