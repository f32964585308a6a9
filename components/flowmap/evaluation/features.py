"""What distances between pictures are measured in, where no judge is trained on data."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from flowmap.data.pretrained import inception_weights, pretrained_at_hand
from flowmap.errors import ConfigError
from flowmap.evaluation.inception import inception_of
from flowmap.rewards.fitting import fitted
from flowmap.settings import Pretrained

_SIDE = 8
_WHERE = "evaluation.features"


@dataclass(frozen=True)
class Features:
    """What pictures (batch, colours, rows, columns) are to a model, (batch, dims).

    Attributes:
        frechet: what the Frechet distance in them is called in the field; None where it has no name.
        are_clip: whether they are a CLIP model's embeddings of pictures, in which there is CMMD too.
    """

    compute: Callable[[Tensor], Tensor]
    frechet: str | None = None
    are_clip: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        return self.compute(x)


def _averaged(x: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(x.clamp(-1, 1), _SIDE).flatten(1)


small_pictures = Features(_averaged)  # to 8 x 8


def features_of(settings: Pretrained | None, device: torch.device) -> Features:
    """Those of a CLIP or DINOv2 model, of FID's own Inception, or of small pictures where none is named.

    Raises ConfigError or DataError where the model can't be fetched or is of another class.
    """
    if settings is None:
        return small_pictures
    from transformers import AutoConfig, AutoImageProcessor, CLIPModel, Dinov2Model

    models = {"clip": CLIPModel, "dinov2": Dinov2Model}
    with tempfile.TemporaryDirectory() as scratch:
        folder = pretrained_at_hand(settings, _WHERE, Path(scratch))
        if (weights := inception_weights(folder)) is not None:
            return Features(inception_of(weights, device, _WHERE), "FID")
        try:
            kind = AutoConfig.from_pretrained(folder).model_type
            if kind not in models:
                raise ConfigError(
                    f"{_WHERE}: {settings.source} is a model of the kind {kind}, and one of "
                    f"{' and '.join(models)} is asked for"
                )
            network = models[kind].from_pretrained(folder, use_safetensors=True)
            look = AutoImageProcessor.from_pretrained(folder, use_fast=False)
        except (OSError, ValueError, RuntimeError) as error:
            raise ConfigError(f"{_WHERE}: {str(error).splitlines()[0]}") from None
    network = network.to(device).eval().requires_grad_(False)
    side = getattr(network.config, "vision_config", network.config).image_size
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (look.image_mean, look.image_std))

    @torch.no_grad()
    def features(x: Tensor) -> Tensor:
        if kind == "dinov2":
            found: Tensor = network(pixel_values=fitted(x, side, mean, std)).pooler_output
        else:
            found = network.visual_projection(network.vision_model(fitted(x, side, mean, std)).pooler_output)
        return found.float()

    return Features(features, "CLIP-FID" if kind == "clip" else "FD-DINOv2", kind == "clip")
