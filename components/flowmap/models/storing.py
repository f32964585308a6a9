"""A model in an artifact: `model.json` says how to build it, `<weights>.safetensors` fill its network.

write_model_facts(directory, facts); save_weights(network.state_dict(), directory / "ema.safetensors")
model = load_model(directory, "ema", device)
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from flowmap.errors import IntegrityError
from flowmap.models.facts import ModelFacts
from flowmap.models.facts_base import Facts
from flowmap.models.model import Model
from flowmap.models.parts import PARTS

MODEL = "model.json"
# The weights that a model ships: after GRPO their average, before it the map; and of the many-step baseline.
AS_TUNED, AS_BASE, AS_BASELINE = "ema", "map", "velocity"
_CPU = torch.device("cpu")


def write_model_facts(directory: Path, facts: Facts) -> None:
    (directory / MODEL).write_text(facts.model_dump_json(indent=1))


def read_model_facts(directory: Path) -> ModelFacts:
    """How to build an artifact's model. Raises IntegrityError where this version knows no such kind."""
    found: TypeAdapter[ModelFacts] = TypeAdapter(ModelFacts)
    try:
        return found.validate_json((directory / MODEL).read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "kind"
        raise IntegrityError(f"{MODEL} can't be read: {where}: {first['msg']}") from None


def save_weights(weights: Mapping[str, Tensor], path: Path) -> None:
    """Write the weights of a network, its `state_dict()`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.detach().contiguous().cpu() for name, value in weights.items()}, path)


def load_weights(network: nn.Module, path: Path) -> None:
    """Fill a network. Raises IntegrityError where the weights do not fit it."""
    try:
        network.load_state_dict(load_file(path))
    except (RuntimeError, SafetensorError) as error:
        raise IntegrityError(f"{path.name} does not fit {MODEL}: {str(error).splitlines()[0]}") from None


def copy_parts(source: Path, directory: Path) -> None:
    """Take over what of a model no training changes: an autoencoder, text encoders."""
    for name in PARTS:
        if (source / name).is_dir():
            shutil.copytree(source / name, directory / name)


def shipped_weights(directory: Path) -> str:
    """Which weights a published version holds: a tuned model's average, or a base's map."""
    return AS_TUNED if (directory / f"{AS_TUNED}.safetensors").is_file() else AS_BASE


def load_model(directory: Path, weights: str, device: torch.device = _CPU) -> Model:
    """The model of an artifact with the weights of that name, in evaluation mode, without gradients.

    Raises:
        IntegrityError: the weights do not fit the network that `model.json` describes.
    """
    model = read_model_facts(directory).build(device, directory)
    load_weights(model.network, directory / f"{weights}.safetensors")
    model.network.to(device).eval().requires_grad_(False)
    return model
