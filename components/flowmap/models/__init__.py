"""Models: how one is built (`facts`, without torch), what it is made of (`model`), its networks, and how it
is kept.

Nothing is imported here but the facts, for whoever only plans a run has no torch.
"""

from flowmap.models.facts import DitFacts, MlpFacts, ModelFacts
from flowmap.models.facts_base import SamplerFacts
from flowmap.models.parts import ADAPTERS, AUTOENCODER, parts_among
from flowmap.models.size import ModelSize
from flowmap.models.text_to_image_facts import FluxFacts, Sd3Facts, TextToImageFacts, latent_shape

__all__ = [
    "ADAPTERS",
    "AUTOENCODER",
    "DitFacts",
    "FluxFacts",
    "MlpFacts",
    "ModelFacts",
    "ModelSize",
    "SamplerFacts",
    "Sd3Facts",
    "TextToImageFacts",
    "latent_shape",
    "parts_among",
]
