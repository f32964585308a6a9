"""A model in an artifact: `model.json` says how to build the network, `<weights>.safetensors` fills it.

write_model_facts(directory, facts); save_weights(network, directory / "ema.safetensors")
network = load_network(directory, "ema")
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from flowmap.errors import IntegrityError
from flowmap.networks.modulated_mlp import ModulatedMLP

MODEL = "model.json"


class ModelFacts(BaseModel):
    """How to build a model and what it was trained for.

    Attributes:
        kind: the network's class.
        shape: of one state, (channels, height, width).
        prompts: what its prompt indices mean.
        width, depth, max_frequency: the network's sizes.
        grid: the times it was fine-tuned on, falling from 1 to 0; None for a base model.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["modulated_mlp"] = "modulated_mlp"
    shape: tuple[int, int, int]
    prompts: tuple[str, ...]
    width: int
    depth: int
    max_frequency: float
    grid: tuple[float, ...] | None = None

    def build(self) -> ModulatedMLP:
        return ModulatedMLP(self.shape, len(self.prompts), self.width, self.depth, self.max_frequency)


def write_model_facts(directory: Path, facts: ModelFacts) -> None:
    (directory / MODEL).write_text(facts.model_dump_json(indent=1))


def read_model_facts(directory: Path) -> ModelFacts:
    return ModelFacts.model_validate_json((directory / MODEL).read_bytes())


def save_weights(network: nn.Module, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.detach().contiguous().cpu() for name, value in network.state_dict().items()}, path)


def load_network(directory: Path, weights: str) -> ModulatedMLP:
    """The network of an artifact with the weights of that name, in evaluation mode, without gradients.

    Raises:
        IntegrityError: the weights do not fit the network that `model.json` describes.
    """
    network = read_model_facts(directory).build()
    path = directory / f"{weights}.safetensors"
    try:
        network.load_state_dict(load_file(path))
    except (RuntimeError, SafetensorError) as error:
        raise IntegrityError(f"{path.name} does not fit {MODEL}: {str(error).splitlines()[0]}") from None
    return network.eval().requires_grad_(False)
