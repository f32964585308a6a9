"""How much people like pictures on average, as layers on CLIP's embedding were trained to say: LAION's
predictor."""

from __future__ import annotations

from torch import Tensor

from flowmap.rewards import clip
from flowmap.rewards.building import Materials
from flowmap.rewards.layers import Layers, applied, read_layers
from flowmap.rewards.protocol import Samples
from flowmap.settings import AestheticSettings


class AestheticReward:
    """A mark, about 1 to 10, whatever the prompt is.

    Args:
        looking: a CLIP model, whose embedding of unit length the layers take.
        layers: on the device of the samples.

    Source: the predictor that LAION-Aesthetics was chosen by (arXiv 2210.08402, section 3).
    """

    def __init__(self, looking: clip.ClipReward, layers: Layers, name: str = "aesthetic") -> None:
        self.name, self.looking, self.layers = name, looking, layers

    def score(self, samples: Samples) -> Tensor:
        """Raises ConfigError for what is no picture in colours or grey."""
        return applied(self.layers, self.looking.embedded(samples))


def build(settings: AestheticSettings, materials: Materials) -> AestheticReward:
    """Raises ConfigError or DataError where the model or its layers can't be read, or do not fit."""
    looking = clip.build(settings, materials)
    width = looking.model.config.projection_dim
    layers = read_layers(
        settings.head, f"reward {settings.label}", width, f"the embedding of {settings.source}"
    )
    on_device = [(weight.to(materials.device), bias.to(materials.device)) for weight, bias in layers]
    return AestheticReward(looking, on_device, settings.label)
