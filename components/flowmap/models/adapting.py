"""Adapters for the networks that there are any for; nothing is imported that no network asks for."""

from __future__ import annotations

import importlib
from pathlib import Path

from torch import nn

from flowmap.errors import ConfigError
from flowmap.models.model import Model

_LORA = "flowmap.text_to_image.lora"  # by name, as all of that room


def lay_adapters(model: Model, rank: int, alpha: float) -> None:
    """Low-rank adapters on a model's network, which from now on are all that is trained.

    Raises ConfigError where there are none for such a network.
    """
    if not hasattr(model.network, "transformer"):
        raise ConfigError(
            f"grpo_finetuning.lora: adapters are laid on transformers of FLUX's architecture, and this is a "
            f"{type(model.network).__name__}; leave lora out"
        )
    model.adapters = importlib.import_module(_LORA).add_lora(model.network, rank, alpha)


def write_adapters(network: nn.Module, folder: Path) -> None:
    """Those of a network, as diffusers' `load_lora_weights` takes them."""
    importlib.import_module(_LORA).write_lora(network, folder)
