"""What the parts of a checkpoint say of themselves: in what a folder of a pipeline has beside weights."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from flowmap.data.naming import named
from flowmap.errors import ConfigError
from flowmap.json_text import read_json
from flowmap.models import TextToImageFacts
from flowmap.progress import say
from flowmap.text_to_image.family import Family
from flowmap.text_to_image.text import clip_tokens

WHERE = "base_training.checkpoint"
SCHEDULER = "scheduler"
_AT_ONCE = 4096  # texts that are made tokens of
_PLACES = {"base_image_seq_len": 256, "max_image_seq_len": 4096}
_SHIFTS = {"base_shift": 0.5, "max_shift": 1.15}
_OWN = "flowmap.json"  # beside a scheduler: what a pipeline of diffusers has no place for


def part_config(path: Path, where: str = WHERE) -> dict[str, Any]:
    """What a part says of itself. Raises ConfigError where that can't be read."""
    try:
        return dict(read_json(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        told = str(error).splitlines()[0]
        raise ConfigError(f"{where}: {path.parent.name}/{path.name} can't be read: {told}") from None


def shift_of(folder: Path, num_places: int) -> float:
    """How far a pipeline's scheduler moves times to the noise, as `even_grid` takes it; 1 without one.

    Args: num_places: tokens of a picture: some move times the further, the larger it is.

    Raises ConfigError where its configuration can't be read.

    Source: `FlowMatchEulerDiscreteScheduler.set_timesteps` and `calculate_shift` in diffusers.
    """
    file, told = _OWN, _own(folder)
    if "shift" not in told:
        file = "scheduler_config.json"
        config = folder / SCHEDULER / file
        told = part_config(config) if config.is_file() else {}
    try:
        shift = _moved(told, num_places) if told.get("use_dynamic_shifting") else float(told.get("shift", 1))
        if not 0 < shift < math.inf:
            raise ValueError(f"times moved by {shift:g}")
    except (ValueError, TypeError, ArithmeticError) as error:
        raise ConfigError(f"{WHERE}: {SCHEDULER}/{file} says what no scheduler does: {error}") from None
    return shift


def _moved(told: dict[str, Any], num_places: int) -> float:
    fewest, most = (float(told.get(name, default)) for name, default in _PLACES.items())
    least, largest = (float(told.get(name, default)) for name, default in _SHIFTS.items())
    moved = least + (largest - least) * (num_places - fewest) / (most - fewest)
    return moved if told.get("time_shift_type") == "linear" else math.exp(moved)


def num_tokens_of(family: Family, folder: Path) -> int:
    """That T5 has of a text: what the model was made for, or fewer where its tokenizer knows fewer.

    Raises ConfigError where its configuration can't be read.
    """
    tokenizer: Any = AutoTokenizer.from_pretrained(folder / family.text.folders()[-1])
    file = folder / "transformer" / "config.json"
    most = family.most_tokens(part_config(file) if file.is_file() else None)
    told = _own(folder).get("num_tokens", most)
    if not isinstance(told, int) or told < 1:
        raise ConfigError(
            f"{WHERE}: {SCHEDULER}/{_OWN} says num_tokens {told!r}: a number of tokens is asked"
        )
    return min(told, int(tokenizer.model_max_length))


def write_own(folder: Path, facts: TextToImageFacts) -> None:
    """Leave beside a pipeline's scheduler, which takes times as they are given, how the model was drawn
    where none were, and how much of a text it was told: so that it comes back in as it was."""
    told = {"num_tokens": facts.num_tokens, "shift": facts.shift}
    (folder / SCHEDULER / _OWN).write_text(json.dumps(told, indent=2) + "\n")


def _own(folder: Path) -> dict[str, Any]:
    file = folder / SCHEDULER / _OWN
    return part_config(file) if file.is_file() else {}


def tell_cut(family: Family, folder: Path, texts: Sequence[str], what: str) -> None:
    """Say of each text encoder which texts it gets cut.

    Args: what: step and name of the texts, such as `data_prep: captions`.
    """
    step, _, name = what.partition(": ")
    names = family.text.folders()
    encoders = names[: len(names) // 2]
    for encoder, folder_of in zip(encoders, names[len(encoders) :], strict=True):
        tokenizer = AutoTokenizer.from_pretrained(folder / folder_of)
        most = num_tokens_of(family, folder)
        if encoder != encoders[-1]:
            told = part_config(folder / encoder / "config.json")
            most = clip_tokens(tokenizer, told["max_position_embeddings"])
        long = [
            text
            for part in (texts[first : first + _AT_ONCE] for first in range(0, len(texts), _AT_ONCE))
            for text, tokens in zip(part, tokenizer(list(part)).input_ids, strict=True)
            if len(tokens) > most
        ]
        if long:
            say(
                f"{step}: {len(long)} of {len(texts)} {name} are longer than the {most} tokens that "
                f"{encoder} takes, and are cut there: {named(map(repr, long))}"
            )
