"""A text-to-image model from its facts and the parts beside its weights."""

from __future__ import annotations

from pathlib import Path

import torch

from flowmap.maps import OneTimeMap, TwoTimeMap
from flowmap.maps.flow_map import TwoTimeNetwork
from flowmap.models import TextToImageFacts
from flowmap.models.model import Model
from flowmap.text_to_image.families import family_of, fresh_transformer
from flowmap.text_to_image.latents import LatentCodec
from flowmap.text_to_image.network import dtype_of
from flowmap.text_to_image.text import TextConditioner


def build(facts: TextToImageFacts, device: torch.device | None = None, parts: Path | None = None) -> Model:
    """With a fresh transformer.

    Raises ConfigError where the autoencoder or a text encoder is missing.
    """
    if parts is None:
        raise ValueError(
            "a text-to-image model is built from the folder that has its autoencoder and encoders"
        )
    codec = LatentCodec.load(parts, facts.latent)
    family = family_of(facts)
    encoders = family.text.load(parts, facts.num_tokens)
    network = family.network(facts, fresh_transformer(facts).to(dtype_of(facts)))
    encoders.to(dtype_of(facts))
    device = device or torch.device("cpu")
    network.to(device), codec.vae.to(device)
    return Model(
        network,
        conditioner=TextConditioner(encoders, device),
        codec=codec,
        make_map=TwoTimeMap if facts.two_times else straight_map,
        shift=facts.shift,
    )


def straight_map(network: TwoTimeNetwork) -> OneTimeMap:
    """The map of a network that gives the velocity at one time, as few-step models do that were distilled to
    go straight to the endpoint."""
    return OneTimeMap(lambda x, t, condition: network(x, t, t, condition), "velocity")
