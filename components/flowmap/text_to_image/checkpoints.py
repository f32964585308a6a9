"""A model that is there already, taken over as a base: read, checked, and written as this package keeps one.

facts = take_over(section.checkpoint, data_facts, scratch, out)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from flowmap.artifacts.digest import canonical_json, sha256_of
from flowmap.data.encoded import EncodedFacts
from flowmap.data.external import folder_digest
from flowmap.data.facts import DataFacts
from flowmap.data.naming import named
from flowmap.data.pretrained import pretrained_at_hand, pretrained_outline
from flowmap.errors import ConfigError
from flowmap.models import TextToImageFacts, latent_shape
from flowmap.models.storing import AS_BASE, AS_BASELINE, copy_parts, save_weights, write_model_facts
from flowmap.progress import say
from flowmap.settings import Checkpoint
from flowmap.text_to_image.converting import converted
from flowmap.text_to_image.families import FAMILIES, family_in, fresh_transformer
from flowmap.text_to_image.family import Family
from flowmap.text_to_image.latents import FOLDER as AUTOENCODER
from flowmap.text_to_image.network import dtype_of
from flowmap.text_to_image.parts import (
    SCHEDULER,
    WHERE,
    num_tokens_of,
    part_config,
    shift_of,
    tell_cut,
)
from flowmap.training.devices import device

FOLDERS = tuple(dict.fromkeys(name for family in FAMILIES for name in (*family.folders, SCHEDULER)))


def take_over(
    checkpoint: Checkpoint, data: DataFacts, scratch: Path, out: Path, encoded: EncodedFacts | None = None
) -> TextToImageFacts:
    """Write weights, parts and facts of a checkpoint into a base's artifact: as its map, or where it is to
    be converted, as the velocity that the map starts from; of one to be trained from scratch no weights.

    Args:
        encoded: pictures that it is to be trained on.

    Raises:
        ConfigError: it is of another class, lacks a part, has pickled weights, or does not suit the data.
    """
    folder = _fetched(checkpoint, scratch / "checkpoint")
    family = family_at(folder, WHERE, without_transformer=bool(checkpoint.train))
    facts = facts_of(family, folder, data).model_copy(update={"precision": checkpoint.precision})
    file = AS_BASE
    weights = {} if checkpoint.train else _weights(folder / "transformer", facts)
    steps = "two times" if facts.two_times else "one time: it goes straight to its endpoint"
    if checkpoint.convert:
        check_convertible(checkpoint, facts)
        known = {"two_times": True, "guidance": checkpoint.guidance}
        facts, file = facts.model_copy(update=known), AS_BASELINE
        weights, steps = converted(weights, facts, device()), "one time, to be taught a second"
    if checkpoint.train:
        # Guidance is told to those that were distilled from it.
        anew = {"two_times": True, **({"guided": False} if facts.told_guidance else {})}
        facts, steps = facts.model_copy(update=anew), "to be trained from scratch"
    else:
        dtype = dtype_of(facts)
        named_here = {f"transformer.{name}": value.to(dtype) for name, value in weights.items()}
        save_weights(named_here, out / f"{file}.safetensors")
    copy_parts(folder, out)
    if encoded is not None:
        check_encoded(encoded, folder, family)
    write_model_facts(out, facts)
    tell_cut(family, folder, facts.prompts, "base_training: prompts")
    say(f"base_training: took over {checkpoint.source}, {facts.size().parameters:,} parameters, {steps}")
    return facts


def _fetched(checkpoint: Checkpoint, folder: Path) -> Path:
    """All files of a checkpoint; of one that is trained from scratch not the gigabytes that it was."""
    if not checkpoint.train:
        return pretrained_at_hand(checkpoint, WHERE, folder, FOLDERS)
    pretrained_outline(checkpoint, WHERE, folder, ("transformer",))
    return pretrained_at_hand(checkpoint, WHERE, folder, [name for name in FOLDERS if name != "transformer"])


def check_convertible(checkpoint: Checkpoint, facts: TextToImageFacts) -> None:
    """Raise ConfigError where there is nothing to convert."""
    if facts.two_times:
        raise ConfigError(f"{WHERE}.convert: {checkpoint.source} knows two times already: leave it out")
    if facts.told_guidance and checkpoint.guidance is not None:
        raise ConfigError(
            f"{WHERE}.guidance: {checkpoint.source} was distilled with guidance and is told "
            f"{facts.told_guidance:g}: its map learns that already, leave it out"
        )


def family_at(folder: Path, where: str, *, without_transformer: bool = False) -> Family:
    """The family of a pipeline in a folder.

    Args: where: the setting, for messages; without_transformer: its own parts alone are asked for.

    Raises ConfigError unless all its parts are there, and none of them pickled.
    """
    index = folder / "model_index.json"
    if not index.is_file():
        raise ConfigError(
            f"{where}: {folder} has no {index.name}: a pipeline of diffusers is asked for, as "
            "`save_pretrained` writes it"
        )
    found = part_config(index, where).get("_class_name")
    family = family_in(found)
    if family is None:
        known = " or ".join(each.pipeline.__name__ for each in FAMILIES)
        raise ConfigError(f"{where}: {folder} is a {found}, and only a {known} can be taken over")
    for name in family.folders:
        if name == "transformer" and without_transformer:
            continue
        part = folder / name
        if not part.is_dir():
            raise ConfigError(f"{where}: {folder} has no {name}: take a checkpoint with all its parts")
        if name.startswith("tokenizer"):
            continue
        if not list(part.glob("*.safetensors")):
            pickled = sorted(path.name for pattern in ("*.bin", "*.pt*") for path in part.glob(pattern))
            told = f", only {named(pickled)}, which may run code when they are read" if pickled else ""
            raise ConfigError(
                f"{where}: {name} has no .safetensors{told}: save it with safe_serialization=True"
            )
    return family


def facts_of(family: Family, folder: Path, data: DataFacts) -> TextToImageFacts:
    names = [name for name in family.text.folders() if name.startswith("text_encoder")]
    transformer, vae, *texts = (
        part_config(folder / name / "config.json") for name in ("transformer", "vae", *names)
    )
    kind, stock, ours = (
        transformer.get("_class_name"),
        family.stock.__name__,
        family.two_times.__name__,
    )
    if kind not in {stock, ours}:
        raise ConfigError(f"{WHERE}: its transformer is a {kind}, and {stock} is asked for")
    for takes, gives, what in (
        (
            transformer["joint_attention_dim"],
            texts[-1]["d_model"],
            f"text of width {{}}, and {names[-1]} gives",
        ),
        (
            transformer["pooled_projection_dim"],
            family.pooled_width(texts),
            f"a pooled text of width {{}}, and {named(names[:-1])} gives",
        ),
    ):
        if takes != gives:
            raise ConfigError(
                f"{WHERE}: the transformer takes {what.format(takes)} {gives}: they are of different models"
            )
    patch, channels = family.patch(transformer), vae["latent_channels"]
    values = patch**2 if family.packed else 1
    if channels * values != transformer["in_channels"]:
        told = f", which are {patch} x {patch} latents of {transformer['in_channels'] // values}"
        raise ConfigError(
            f"{WHERE}: the transformer takes {transformer['in_channels']} channels"
            f"{told if family.packed else ''}, and the vae gives latents of {channels}: they are of "
            "different models"
        )
    try:
        latent = latent_shape(data.shape, channels, len(vae["block_out_channels"]) - 1, patch)
    except ValueError as error:
        raise ConfigError(f"{WHERE}: {error}; set data_prep.resize") from None
    if data.shape[0] != vae["in_channels"]:
        raise ConfigError(
            f"{WHERE}: its pictures have {vae['in_channels']} colours, and the data have {data.shape[0]}: "
            "set data_prep.color"
        )
    return family.facts.model_validate(
        {
            "shape": data.shape,
            "prompts": data.prompts,
            "prompt_facts": data.prompt_facts,
            "latent": latent,
            "patch": patch,
            "heads": transformer["num_attention_heads"],
            "head_width": transformer["attention_head_dim"],
            "text_width": transformer["joint_attention_dim"],
            "pooled_width": transformer["pooled_projection_dim"],
            "two_times": kind == ours,
            "num_tokens": num_tokens_of(family, folder),
            "shift": shift_of(folder, latent[1] * latent[2] // patch**2),
            **family.told_by(transformer, folder),
        }
    )


def _weights(folder: Path, facts: TextToImageFacts) -> dict[str, Tensor]:
    """The transformer's, by its own names.

    Raises ConfigError where they do not fit what its configuration says.
    """
    check_shapes(folder, facts)
    return {
        name: value
        for file in sorted(folder.glob("*.safetensors"))
        for name, value in load_file(file).items()
    }


def check_shapes(folder: Path, facts: TextToImageFacts) -> None:
    """Raise ConfigError where a transformer's weights, by their files' headers, do not fit what its
    configuration says."""
    found: dict[str, tuple[int, ...]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, "pt") as weights:
                names = weights.keys()
                found |= {name: tuple(weights.get_slice(name).get_shape()) for name in names}
        except SafetensorError as error:
            raise ConfigError(f"{WHERE}: {file.name} can't be read: {error}") from None
    with torch.device("meta"):  # no weights, which may be gigabytes
        expected = {
            name: tuple(value.shape) for name, value in fresh_transformer(facts).state_dict().items()
        }
    if expected != found:
        odd = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
        raise ConfigError(
            f"{WHERE}: {len(odd)} weights of the transformer are not as its config.json says: {named(odd)}"
        )


def digests_of(folder: Path, family: Family) -> tuple[str, str]:
    """Of the autoencoder in a pipeline's folder, and of all its text encoders with how much they read."""
    texts: dict[str, Any] = {name: folder_digest(folder / name) for name in sorted(family.text.folders())}
    texts["tokens"] = num_tokens_of(family, folder)
    return folder_digest(folder / AUTOENCODER), sha256_of(canonical_json(texts))


def check_encoded(encoded: EncodedFacts, folder: Path, family: Family) -> None:
    """Raise ConfigError where what encoded pictures is not what a model has in its folder."""
    tell_encoded_by_another((encoded.autoencoder, encoded.texts), digests_of(folder, family))


def tell_encoded_by_another(encoder: tuple[str, str], model: tuple[str, str]) -> None:
    """Raise ConfigError where those digests of autoencoder and text encoders differ."""
    parts = zip(("autoencoder", "text encoders"), encoder, model, strict=True)
    if odd := [name for name, here, other in parts if here != other]:
        raise ConfigError(
            f"data_prep.captioned.encoder has another {' and other '.join(odd)} than {WHERE}: what it "
            "encoded means nothing to that model; name the same one"
        )
