"""Whether a checkpoint will do, by what its files are called and say of themselves: before anything is
encoded or trained, and without the gigabytes of its weights.

    look_at(config, scratch)               # ConfigError where a later step could only refuse it
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import sub
from pathlib import Path

import torch
from diffusers import AutoencoderKL

from flowmap.data.external import local_path
from flowmap.data.facts import DataFacts
from flowmap.data.naming import named
from flowmap.data.pretrained import pretrained_outline
from flowmap.data.remote import is_remote
from flowmap.errors import ConfigError
from flowmap.maps import even_grid
from flowmap.models import TextToImageFacts
from flowmap.progress import say
from flowmap.settings import Checkpoint, DataPrep, RunConfig
from flowmap.text_to_image.checkpoints import (
    FOLDERS,
    check_convertible,
    check_shapes,
    digests_of,
    facts_of,
    family_at,
    tell_encoded_by_another,
)
from flowmap.text_to_image.family import Family
from flowmap.text_to_image.latents import FOLDER as AUTOENCODER
from flowmap.text_to_image.lora import check_rank
from flowmap.text_to_image.parts import WHERE, num_tokens_of, part_config

_ENCODER = "data_prep.captioned.encoder"
_NEAR = 0.01  # of times
# What changes with who wrote a part, and not with the part.
_CHANGES = {"_name_or_path", "_diffusers_version", "transformers_version"}


def look_at(config: RunConfig, scratch: Path) -> None:
    """Look at the checkpoint that base training takes over, if there is one.

    Args: scratch: where what is fetched of it lies.

    Raises:
        ConfigError: it is of another class, lacks a part, has pickled weights, or does not suit the data,
            the settings, or what encodes pictures.
    """
    checkpoint = config.base_training.checkpoint
    if checkpoint is None:
        return
    folder = pretrained_outline(checkpoint, WHERE, scratch / "checkpoint", FOLDERS)
    family = family_at(folder, WHERE, without_transformer=bool(checkpoint.train))
    facts = outlined(checkpoint, folder, config.data_prep)
    if config.data_prep.captioned is not None:
        _check_encoder(config, checkpoint, folder, family, scratch)
    if facts is None:
        return
    if checkpoint.convert:
        check_convertible(checkpoint, facts)
    if _is_here(checkpoint.source) and not checkpoint.train:
        check_shapes(folder / "transformer", facts)
    _tell_times(checkpoint, facts, config.grpo_finetuning.grid)
    for where, lora in (
        ("base_training.lora", config.base_training.lora),
        ("grpo_finetuning.lora", config.grpo_finetuning.lora),
    ):
        if lora is not None:
            check_rank(lora.rank, facts.width, where)


def outlined(checkpoint: Checkpoint, folder: Path, data: DataPrep) -> TextToImageFacts | None:
    """What the model is, by its folder; None where nobody knows yet how large the data's pictures are."""
    if data.resize is None:
        return None
    shape = (1 if data.color == "grey" else 3, *data.resize)
    assumed = DataFacts(
        modality="images",
        prompts=("",),
        shape=shape,
        num_read=0,
        num_duplicates=0,
        splits={},
        counts={},
        expectations=(),
    )
    family = family_at(folder, WHERE, without_transformer=bool(checkpoint.train))
    facts = facts_of(family, folder, assumed)
    return facts.model_copy(update={"precision": checkpoint.precision})


def parts_bytes(folder: Path, precision: str) -> tuple[int, int]:
    """What its autoencoder and its text encoders hold in memory, by their configurations."""
    family = family_at(folder, WHERE, without_transformer=True)
    classes = zip(family.text.folders(), family.text.classes, strict=False)
    with torch.device("meta"):
        config = part_config(folder / AUTOENCODER / "config.json", WHERE)
        autoencoder = AutoencoderKL.from_config(config)
        texts = [kind(kind.config_class.from_pretrained(folder / name)) for name, kind in classes]
    numbers = sum(each.numel() for encoder in texts for each in encoder.parameters())
    size = 2 if precision == "bfloat16" else 4
    return sum(each.nbytes for each in autoencoder.parameters()), size * numbers


def _tell_times(checkpoint: Checkpoint, facts: TextToImageFacts, grid: Sequence[float]) -> None:
    """Say where a model of few steps is to be drawn at other times than those of its own scheduler."""
    own = even_grid(len(grid) - 1, facts.shift)
    if not checkpoint.learns and not facts.two_times and max(map(abs, map(sub, own, grid))) > _NEAR:
        times = ", ".join(f"{t:.4g}" for t in own)
        say(
            f"data_prep: {WHERE}: its own scheduler draws {len(grid) - 1} steps at [{times}], and "
            f"grpo_finetuning.grid is {list(grid)}: what it was distilled for is the former, most likely"
        )


def _check_encoder(
    config: RunConfig, checkpoint: Checkpoint, folder: Path, family: Family, scratch: Path
) -> None:
    """Whether pictures are encoded by the parts of the model that learns from them."""
    assert config.data_prep.captioned is not None
    encoder = config.data_prep.captioned.encoder
    if (encoder.source, encoder.revision) == (checkpoint.source, checkpoint.revision):
        return
    there = pretrained_outline(encoder, _ENCODER, scratch / "encoder", FOLDERS)
    family_at(there, _ENCODER, without_transformer=True)
    reads, wants = (num_tokens_of(family, each) for each in (there, folder))
    if reads != wants:
        raise ConfigError(
            f"{_ENCODER} reads {reads} tokens of a text, and {WHERE} {wants}: what it encodes is another "
            "text to that model; name the same one"
        )
    if _is_here(encoder.source) and _is_here(checkpoint.source):
        tell_encoded_by_another(digests_of(there, family), digests_of(folder, family))
        return
    encoders = [name for name in family.text.folders() if name.startswith("text_encoder")]
    if odd := [
        name
        for name in (AUTOENCODER, *encoders)
        if _said(there, name, _ENCODER) != _said(folder, name, WHERE)
    ]:
        raise ConfigError(
            f"{_ENCODER} has another {named(odd)} than {WHERE}, by its config.json: what it encodes means "
            "nothing to that model; name the same one"
        )


def _said(folder: Path, name: str, where: str) -> dict[str, object]:
    found = part_config(folder / name / "config.json", where)
    return {key: value for key, value in found.items() if key not in _CHANGES}


def _is_here(source: str) -> bool:
    return not is_remote(source) and local_path(source).is_dir()
