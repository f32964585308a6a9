"""The architectures that there are."""

from __future__ import annotations

from typing import Any

from flowmap.models import TextToImageFacts
from flowmap.text_to_image.family import Family
from flowmap.text_to_image.flux import FLUX
from flowmap.text_to_image.sd3 import SD3

FAMILIES = (FLUX, SD3)


def family_of(facts: TextToImageFacts) -> Family:
    """That of a model."""
    return next(family for family in FAMILIES if isinstance(facts, family.facts))


def family_in(pipeline: str | None) -> Family | None:
    """That of a pipeline of diffusers, by the name of its class."""
    return next((family for family in FAMILIES if family.pipeline.__name__ == pipeline), None)


def family_with(transformer: Any) -> Family:
    """That of a transformer."""
    return next(family for family in FAMILIES if isinstance(transformer, family.stock))


def fresh_transformer(facts: TextToImageFacts) -> Any:
    """With weights drawn from torch's global generator; diffusers' own where a model knows one time."""
    family = family_of(facts)
    return (family.two_times if facts.two_times else family.stock)(**family.sizes(facts))
