"""A model that is there already, taken over as a base: read, checked, and written as this package keeps one.

facts = take_over(section.checkpoint, data_facts, scratch, out)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoTokenizer

from flowmap.data.facts import DataFacts
from flowmap.data.naming import named
from flowmap.data.pretrained import pretrained_at_hand
from flowmap.errors import ConfigError
from flowmap.models.facts import FluxFacts, latent_shape
from flowmap.models.parts import PARTS
from flowmap.models.storing import AS_BASE, AS_BASELINE, copy_parts, save_weights, write_model_facts
from flowmap.progress import say
from flowmap.settings import Checkpoint
from flowmap.text_to_image.converting import converted
from flowmap.text_to_image.network import dtype_of, fresh_transformer
from flowmap.training.devices import device

_OURS = "FlowMapTransformer"
_CLASSES = {"FluxTransformer2DModel", _OURS}
_MOST_TOKENS = 512
_PATCH = 2  # latents on the side of a token, in every FLUX
_WHERE = "base_training.checkpoint"
_FOLDERS = ("transformer", *PARTS)


def take_over(checkpoint: Checkpoint, data: DataFacts, scratch: Path, out: Path) -> FluxFacts:
    """Write weights, parts and facts of a checkpoint into a base's artifact: as its map, or where it is to
    be converted, as the velocity that the map starts from.

    Raises:
        ConfigError: it is of another class, lacks a part, has pickled weights, or does not suit the data.
    """
    folder = pretrained_at_hand(checkpoint, _WHERE, scratch / "checkpoint", _FOLDERS)
    _check_folders(folder)
    facts, file = _facts(folder, data).model_copy(update={"precision": checkpoint.precision}), AS_BASE
    weights = _weights(folder / "transformer", facts)
    steps = "two times" if facts.two_times else "one time: it goes straight to its endpoint"
    if checkpoint.convert:
        if facts.two_times:
            raise ConfigError(f"{_WHERE}.convert: {checkpoint.source} knows two times already: leave it out")
        facts, file = facts.model_copy(update={"two_times": True, "places": False}), AS_BASELINE
        weights, steps = converted(weights, facts, device()), "one time, to be taught a second"
    dtype = dtype_of(facts)
    named_here = {f"transformer.{name}": value.to(dtype) for name, value in weights.items()}
    save_weights(named_here, out / f"{file}.safetensors")
    copy_parts(folder, out)
    write_model_facts(out, facts)
    _count_tokens(folder, facts)
    say(f"base_training: took over {checkpoint.source}, {facts.size().parameters:,} parameters, {steps}")
    return facts


def _check_folders(folder: Path) -> None:
    index = folder / "model_index.json"
    if not index.is_file():
        raise ConfigError(
            f"{_WHERE}: {folder} has no {index.name}: a pipeline of diffusers is asked for, as "
            "`save_pretrained` writes it"
        )
    found = json.loads(index.read_text())
    if found.get("_class_name") != "FluxPipeline":
        raise ConfigError(
            f"{_WHERE}: {folder} is a {found.get('_class_name')}, and only FluxPipeline can be taken over"
        )
    for name in _FOLDERS:
        part = folder / name
        if not part.is_dir():
            raise ConfigError(f"{_WHERE}: {folder} has no {name}: take a checkpoint with all its parts")
        if name.startswith("tokenizer"):
            continue
        if not list(part.glob("*.safetensors")):
            pickled = sorted(path.name for pattern in ("*.bin", "*.pt*") for path in part.glob(pattern))
            told = f", only {named(pickled)}, which may run code when they are read" if pickled else ""
            raise ConfigError(
                f"{_WHERE}: {name} has no .safetensors{told}: save it with safe_serialization=True"
            )


def _facts(folder: Path, data: DataFacts) -> FluxFacts:
    transformer, vae, t5 = (
        json.loads((folder / name / "config.json").read_text())
        for name in ("transformer", "vae", "text_encoder_2")
    )
    kind = transformer.get("_class_name")
    if kind not in _CLASSES:
        raise ConfigError(f"{_WHERE}: its transformer is a {kind}, and FluxTransformer2DModel is asked for")
    if transformer["joint_attention_dim"] != t5["d_model"]:
        raise ConfigError(
            f"{_WHERE}: the transformer takes text of width {transformer['joint_attention_dim']}, and "
            f"text_encoder_2 gives {t5['d_model']}: they are of different models"
        )
    channels = vae["latent_channels"]
    if channels * _PATCH**2 != transformer["in_channels"]:
        raise ConfigError(
            f"{_WHERE}: the transformer takes {transformer['in_channels']} channels, which are {_PATCH} x "
            f"{_PATCH} latents of {transformer['in_channels'] // _PATCH**2}, and the vae gives latents of "
            f"{channels}: they are of different models"
        )
    try:
        latent = latent_shape(data.shape, channels, len(vae["block_out_channels"]) - 1, _PATCH)
    except ValueError as error:
        raise ConfigError(f"{_WHERE}: {error}; set data_prep.resize") from None
    if data.shape[0] != vae["in_channels"]:
        raise ConfigError(
            f"{_WHERE}: its pictures have {vae['in_channels']} colours, and the data have {data.shape[0]}: "
            "set data_prep.color"
        )
    return FluxFacts(
        shape=data.shape,
        prompts=data.prompts,
        prompt_facts=data.prompt_facts,
        latent=latent,
        patch=_PATCH,
        heads=transformer["num_attention_heads"],
        head_width=transformer["attention_head_dim"],
        double_blocks=transformer["num_layers"],
        single_blocks=transformer["num_single_layers"],
        text_width=transformer["joint_attention_dim"],
        pooled_width=transformer["pooled_projection_dim"],
        axes=tuple(transformer["axes_dims_rope"]),
        guided=transformer["guidance_embeds"],
        two_times=kind == _OURS,
        places=bool(transformer.get("num_places")),
        num_tokens=min(_MOST_TOKENS, AutoTokenizer.from_pretrained(folder / "tokenizer_2").model_max_length),
    )


def _weights(folder: Path, facts: FluxFacts) -> dict[str, Tensor]:
    """The transformer's, by its own names.

    Raises ConfigError where they do not fit what its configuration says.
    """
    weights: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            weights |= load_file(file)
        except SafetensorError as error:
            raise ConfigError(f"{_WHERE}: {file.name} can't be read: {error}") from None
    expected = {name: value.shape for name, value in fresh_transformer(facts).state_dict().items()}
    found = {name: value.shape for name, value in weights.items()}
    if expected != found:
        odd = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
        raise ConfigError(
            f"{_WHERE}: {len(odd)} weights of the transformer are not as its config.json says: {named(odd)}"
        )
    return weights


def _count_tokens(folder: Path, facts: FluxFacts) -> None:
    """Say which prompts are cut."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder / "tokenizer_2")
    long = [each for each in facts.prompts if len(tokenizer(each).input_ids) > facts.num_tokens]
    if long:
        say(
            f"base_training: {len(long)} of {len(facts.prompts)} prompts are longer than the "
            f"{facts.num_tokens} tokens that the encoder takes, and are cut: {named(map(repr, long))}"
        )
