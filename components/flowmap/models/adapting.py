"""Adapters, and activations that are not kept, for the networks that can; nothing is imported that no
network asks for."""

from __future__ import annotations

import importlib
from pathlib import Path

from torch import nn

from flowmap.errors import ConfigError
from flowmap.models.model import Model

_LORA = "flowmap.text_to_image.lora"  # by name, as all of that room


def lay_adapters(model: Model, rank: int, alpha: float, *, second_time: bool = False) -> None:
    """Low-rank adapters on a model's network, which from now on are all that is trained.

    Args:
        second_time: train its embedding of the second time too, which a model of one time has to learn.

    Raises ConfigError where there are none for such a network.
    """
    if not hasattr(model.network, "transformer"):
        raise ConfigError(
            "grpo_finetuning.lora: adapters are laid on text-to-image transformers, and this is a "
            f"{type(model.network).__name__}; leave lora out"
        )
    model.adapters = importlib.import_module(_LORA).add_lora(
        model.network, rank, alpha, second_time=second_time
    )


def recompute_activations(model: Model) -> None:
    """Let a network's blocks compute their activations again on the way back, in the place of keeping them
    (gradient checkpointing, arXiv 1604.06174).

    Raises ConfigError for a network that can't.
    """
    transformer = getattr(model.network, "transformer", None)
    if transformer is None:
        raise ConfigError(
            "grpo_finetuning.gradient_checkpointing: text-to-image transformers can, and this is a "
            f"{type(model.network).__name__}; leave it out"
        )
    transformer.enable_gradient_checkpointing()


def write_adapters(network: nn.Module, folder: Path) -> None:
    """Those of a network, as diffusers' `load_lora_weights` takes them."""
    importlib.import_module(_LORA).write_lora(network, folder)
