"""Pictures as models of others take them."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from flowmap.errors import ConfigError
from flowmap.rewards.protocol import Samples

# Of the pictures that CLIP and BLIP were trained on, where a model does not say.
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def pictures_of(samples: Samples, name: str) -> Tensor:
    """All of them in a row, (groups * members, colours, rows, columns).

    Raises ConfigError, with the reward's name, for what is no picture in colours or grey.
    """
    pictures = samples.data.flatten(0, 1)
    if pictures.dim() != 4 or pictures.shape[1] not in (1, 3):
        raise ConfigError(
            f"reward {name}: it looks at pictures, and samples have the shape {tuple(pictures.shape[1:])}"
        )
    return pictures


def fitted(pictures: Tensor, side: int, mean: Tensor, std: Tensor) -> Tensor:
    """Pictures in [-1, 1] as squares (batch, 3, side, side), normalised.

    Args:
        mean, std: of each colour where it goes from 0 to 1, (3, 1, 1).
    """
    levels = (pictures.clamp(-1, 1) + 1) / 2
    resized = F.interpolate(levels, side, mode="bicubic", antialias=True).clamp(0, 1)
    return (resized - mean.to(resized)) / std.to(resized)
