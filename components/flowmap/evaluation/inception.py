"""The Inception network that FID is defined by, as torch-fidelity has it, with its weights as that library
keeps them: `pt_inception-2015-12-05-6726825d.pth`, from its releases.

Source: Heusel et al., "GANs Trained by a Two Time-Scale Update Rule" (arXiv 1706.08500).
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from flowmap.errors import ConfigError

_LAYER = "2048"  # the last pooling, in which FID is told


def inception_of(weights: Path, device: torch.device, where: str) -> Callable[[Tensor], Tensor]:
    """From pictures (batch, 1 or 3, rows, columns) in [-1, 1] to features (batch, 2048).

    Args: where: the setting, for messages.

    Raises ConfigError where torch-fidelity is not installed, or that file holds no weights of the network.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        raise ConfigError(f"{where}: torch-fidelity is not installed: pip install 'flowmap[fid]'") from None
    try:
        tensors = torch.load(weights, map_location="cpu", weights_only=True)
        with tempfile.NamedTemporaryFile(suffix=".pth") as checked:  # the library itself would run its code
            torch.save(tensors, checked.name)
            network = FeatureExtractorInceptionV3("inception", [_LAYER], checked.name)
    except (
        OSError,
        EOFError,
        RuntimeError,
        TypeError,
        KeyError,
        AttributeError,
        pickle.UnpicklingError,
    ) as error:
        told = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        raise ConfigError(f"{where}: {weights} holds no weights of Inception v3: {told}") from None
    network = network.to(device)

    @torch.no_grad()
    def features(x: Tensor) -> Tensor:
        levels = ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        found: Tensor = network(levels.expand(-1, 3, -1, -1))[0]
        return found.float()

    return features
