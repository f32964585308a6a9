"""How much people like pictures on average, as layers on CLIP's embedding were trained to say: LAION's
predictor."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from flowmap.data.external import local_path
from flowmap.data.remote import fetch_source, is_remote
from flowmap.errors import ConfigError
from flowmap.rewards import clip
from flowmap.rewards.building import Materials
from flowmap.rewards.protocol import Samples
from flowmap.settings import AestheticSettings

_WEIGHT = re.compile(r"(?:layers\.)?(\d+)\.weight")


class AestheticReward:
    """A mark, about 1 to 10, whatever the prompt is.

    Args:
        looking: a CLIP model, whose embedding of unit length the layers take.
        layers: weight (out, in) and bias (out,) of each, one after the other, nothing between them.

    Source: the predictor that LAION-Aesthetics was chosen by (arXiv 2210.08402, section 3).
    """

    def __init__(
        self, looking: clip.ClipReward, layers: Sequence[tuple[Tensor, Tensor]], name: str = "aesthetic"
    ) -> None:
        self.name, self.looking, self.layers = name, looking, layers

    def score(self, samples: Samples) -> Tensor:
        """Raises ConfigError for what is no picture in colours or grey."""
        told = self.looking.embedded(samples)
        for weight, bias in self.layers:
            told = told @ weight.T + bias
        return told[..., 0]


def build(settings: AestheticSettings, materials: Materials) -> AestheticReward:
    """Raises ConfigError or DataError where the model or its layers can't be read, or do not fit."""
    looking = clip.build(settings, materials)
    layers = [
        (weight.to(materials.device), bias.to(materials.device))
        for weight, bias in read_layers(settings.head, f"reward {settings.label}")
    ]
    width = looking.model.config.projection_dim
    sizes = [width, *(len(bias) for _, bias in layers)]
    if [weight.shape[1] for weight, _ in layers] != sizes[:-1] or sizes[-1] != 1:
        told = " to ".join(map(str, [layers[0][0].shape[1], *sizes[1:]]))
        raise ConfigError(
            f"reward {settings.label}: {settings.head} leads from {told}, and from {width}, the embedding "
            f"of {settings.source}, to 1 is asked for"
        )
    return AestheticReward(looking, layers, settings.label)


def read_layers(source: str, where: str) -> list[tuple[Tensor, Tensor]]:
    """Linear layers from a file of safetensors, `layers.<n>.weight` and `.bias`, in the order of n.

    Raises ConfigError where there are none.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = fetch_source(source, Path(scratch)) if is_remote(source) else local_path(source)
        try:
            found = load_file(path)
        except (OSError, SafetensorError) as error:
            raise ConfigError(
                f"{where}: {source} can't be read as safetensors ({error}); what LAION gives is pickled, "
                "and becomes them by safetensors.torch.save_file(torch.load(FILE, weights_only=True), NEW)"
            ) from None
    numbers = sorted(int(match[1]) for match in map(_WEIGHT.fullmatch, found) if match)
    prefix = "layers." if any(name.startswith("layers.") for name in found) else ""
    try:
        layers = [
            (found[f"{prefix}{n}.weight"].float(), found[f"{prefix}{n}.bias"].float()) for n in numbers
        ]
    except KeyError as error:
        raise ConfigError(f"{where}: {source} has no {error.args[0]}") from None
    if not layers:
        raise ConfigError(f"{where}: {source} has no layers.<n>.weight")
    return layers
