"""An untrained text-to-image model of a few thousand weights, with everything that lies beside them."""

from pathlib import Path

import torch

from flowmap.models.model import Model
from flowmap.models.storing import load_model, save_weights, write_model_facts
from flowmap.text_to_image.building import build
from flowmap.text_to_image.latents import FOLDER, fresh_autoencoder
from flowmap.text_to_image.text import fresh_text
from tests.text_to_image.facts import FACTS, PROMPTS


def write_parts(folder: Path) -> None:
    """Autoencoder, encoders and tokenizers, weights as they were drawn."""
    torch.manual_seed(1)
    vae = fresh_autoencoder(3, 4, (8, 8))
    vae.register_to_config(shift_factor=0.1, scaling_factor=2.0)
    vae.save_pretrained(folder / FOLDER)
    fresh_text(PROMPTS, FACTS.num_tokens, FACTS.text_width).save(folder)


def write_tiny_flux(folder: Path) -> Path:
    """A whole artifact, whose weights do something at every layer."""
    folder.mkdir(parents=True, exist_ok=True)
    write_parts(folder)
    write_model_facts(folder, FACTS)
    torch.manual_seed(2)
    network = build(FACTS, parts=folder).network
    for parameter in network.parameters():
        if not parameter.detach().any():
            torch.nn.init.normal_(parameter, std=0.1)
    save_weights(network.state_dict(), folder / "ema.safetensors")
    return folder


def tiny_flux(folder: Path) -> Model:
    return load_model(write_tiny_flux(folder), "ema")
