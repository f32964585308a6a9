"""Models: how one is built (`facts`, without torch), what it is made of (`model`), its networks, and how it
is kept.

Nothing is imported here but the facts, for whoever only plans a run has no torch.
"""

from flowmap.models.facts import (
    DitFacts,
    FluxFacts,
    MlpFacts,
    ModelFacts,
    SamplerFacts,
    latent_shape,
)
from flowmap.models.parts import ADAPTERS, AUTOENCODER, parts_among
from flowmap.models.size import ModelSize

__all__ = [
    "ADAPTERS",
    "AUTOENCODER",
    "DitFacts",
    "FluxFacts",
    "MlpFacts",
    "ModelFacts",
    "ModelSize",
    "SamplerFacts",
    "latent_shape",
    "parts_among",
]
