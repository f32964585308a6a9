"""Low-rank adapters on the transformer: a thousandth of the weights to train, and no copy as reference.

    adapters = add_lora(network, rank=16, alpha=16)
    with adapters.off(): ...                      # the network as it was before
    weights = adapters.merged(network)            # as a plain network's

Source: LoRA (arXiv 2106.09685), through the library peft.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers.training_utils import _collate_lora_metadata
from peft import LoraConfig, get_peft_model_state_dict
from peft.tuners.lora import Linear
from torch import Tensor, nn

from flowmap.errors import ConfigError
from flowmap.text_to_image.families import family_with
from flowmap.text_to_image.network import TransformerNetwork, dtype_in

_NAME = "default"  # peft's own name for the only adapter there is


class Lora:
    """The adapters of one network: the only parameters of it that are trained."""

    def __init__(self, network: TransformerNetwork) -> None:
        self.network = network

    @contextlib.contextmanager
    def off(self) -> Iterator[None]:
        """The network as it was before the adapters, for the time of the block."""
        self.network.transformer.disable_adapters()
        try:
            yield
        finally:
            self.network.transformer.enable_adapters()

    @torch.no_grad()
    def merged(self, network: nn.Module) -> dict[str, Tensor]:
        """The weights of a network without adapters that does what this one does, or a copy of it."""
        weights = {name: value for name, value in network.state_dict().items() if ".lora_" not in name}
        adapted = {name: each for name, each in network.named_modules() if isinstance(each, Linear)}
        for name, module in adapted.items():
            for kind in ("weight", "bias"):
                if (value := weights.pop(f"{name}.base_layer.{kind}", None)) is not None:
                    weights[f"{name}.{kind}"] = value
            plain = weights[f"{name}.weight"]
            weights[f"{name}.weight"] = (plain + module.get_delta_weight(_NAME)).to(plain.dtype)
        dtype = dtype_in(network)  # the embedding of t - r is trained in more bits
        return {name: value.to(dtype) for name, value in weights.items()}


def add_lora(network: TransformerNetwork, rank: int, alpha: float, *, second_time: bool = False) -> Lora:
    """Freeze the network and lay adapters on it, which at first change nothing.

    Args:
        second_time: train the embedding of t - r too, as it is: it starts at zero, and adapters on nothing
            learn nothing.

    Raises ConfigError for a rank of which adapters hold more than the layers that they lie on.
    """
    check_rank(rank, network.transformer.inner_dim)
    network.requires_grad_(False)
    layers = list(family_with(network.transformer).adapted)
    network.transformer.add_adapter(
        LoraConfig(r=rank, lora_alpha=alpha, init_lora_weights="gaussian", target_modules=layers)
    )
    if second_time:
        embedding = network.transformer.time_text_embed
        for layer in (embedding.inlet, embedding.outlet):
            layer.requires_grad_(True)
    for parameter in network.parameters():
        if parameter.requires_grad:  # steps as small as theirs are lost in fewer bits
            parameter.data = parameter.data.float()
    return Lora(network)


def check_rank(rank: int, width: int, where: str = "lora") -> None:
    """Raise ConfigError where adapters of a rank hold more than layers of a width."""
    if rank >= width:
        raise ConfigError(
            f"{where}.rank is {rank}, and the layers that adapters lie on are {width} wide: of such a rank "
            "they hold more than the layers do. Lower it, or leave lora out to train all weights"
        )


def write_lora(network: nn.Module, folder: Path) -> None:
    """As its pipeline's `load_lora_weights` takes it: rank and alpha stand in its metadata, without which it
    would be loaded at another strength and nobody be told."""
    transformer = network.transformer
    family_with(transformer).pipeline.save_lora_weights(
        folder,
        transformer_lora_layers={
            name: value.contiguous() for name, value in get_peft_model_state_dict(transformer).items()
        },
        **_collate_lora_metadata({"transformer": transformer}),
    )
