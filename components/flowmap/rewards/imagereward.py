"""How much people would prefer a picture for its prompt, as ImageReward says: BLIP reads the prompt while it
looks at the picture, and layers on what it has read give a mark."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, BlipForImageTextRetrieval

from flowmap.data.pretrained import pretrained_at_hand
from flowmap.errors import ConfigError
from flowmap.rewards.building import Materials
from flowmap.rewards.fitting import MEAN, STD, fitted, pictures_of
from flowmap.rewards.layers import Layers, applied, read_layers
from flowmap.rewards.protocol import Samples
from flowmap.settings import ImageRewardSettings

with torch.device("cpu"):  # before transformers loads anything: flowmap.text_to_image says why
    torch.empty(0)

HEAD = "head.safetensors"
_PART = 64
_TOKENS = 35  # that were read of a prompt when it was trained
# What marks had on its training data.
_MARK_MEAN, _MARK_STD = 0.16717362830052426, 1.0333394966054072


class ImageReward:
    """A mark, about -2 to 2.

    Args:
        model: a `BlipForImageTextRetrieval`; tokenizer: that belongs to it.
        layers: from what is read of a prompt to its mark.

    Source: ImageReward (arXiv 2304.05977), section 2.3.
    """

    def __init__(self, model: Any, tokenizer: Any, layers: Layers, name: str = "imagereward") -> None:
        self.name, self.model, self.tokenizer = name, model.eval().requires_grad_(False), tokenizer
        self.layers = layers
        self._mean, self._std = (torch.tensor(each).view(3, 1, 1) for each in (MEAN, STD))

    def score(self, samples: Samples) -> Tensor:
        """Raises ConfigError for what is no picture in colours or grey."""
        members = samples.data.shape[1]
        prompts = [prompt for prompt in samples.prompts for _ in range(members)]
        marks = [
            self._marks(part, prompts[first : first + _PART])
            for first, part in zip(
                range(0, len(prompts), _PART), pictures_of(samples, self.name).split(_PART), strict=True
            )
        ]
        found: Tensor = torch.cat(marks).unflatten(0, samples.data.shape[:2])
        return found

    def _marks(self, pictures: Tensor, prompts: Sequence[str]) -> Tensor:
        side = self.model.config.vision_config.image_size
        seen = self.model.vision_model(fitted(pictures, side, self._mean, self._std)).last_hidden_state
        told = self.tokenizer(
            list(prompts), padding=True, truncation=True, max_length=_TOKENS, return_tensors="pt"
        ).to(seen.device)
        read = self.model.text_encoder(
            told.input_ids, attention_mask=told.attention_mask, encoder_hidden_states=seen
        ).last_hidden_state
        marks: Tensor = (applied(self.layers, read[:, 0]) - _MARK_MEAN) / _MARK_STD
        return marks


def build(settings: ImageRewardSettings, materials: Materials) -> ImageReward:
    """Raises ConfigError or DataError where the model can't be fetched or is of another class."""
    where = f"reward {settings.label}"
    with tempfile.TemporaryDirectory() as scratch:
        folder = pretrained_at_hand(settings, where, Path(scratch))
        config = folder / "config.json"
        kind = json.loads(config.read_text()).get("model_type") if config.is_file() else None
        if kind != "blip" or not (folder / HEAD).is_file():
            lacks = f"it has no {HEAD}" if kind == "blip" else f"it is no BLIP model, but {kind}"
            raise ConfigError(
                f"{where}: {settings.source} is not ImageReward as transformers has it: {lacks}. What its "
                "authors give becomes that by `python -m flowmap.rewards.imagereward_weights ImageReward.pt "
                "TOKENIZER FOLDER`"
            )
        try:
            model = BlipForImageTextRetrieval.from_pretrained(folder, use_safetensors=True)
        except OSError as error:
            raise ConfigError(f"{where}: {str(error).splitlines()[0]}") from None
        tokenizer = AutoTokenizer.from_pretrained(folder)
        width = model.config.text_config.hidden_size
        layers = read_layers(str(folder / HEAD), where, width, "what its text encoder gives")
    on_device = [(weight.to(materials.device), bias.to(materials.device)) for weight, bias in layers]
    return ImageReward(model.to(materials.device), tokenizer, on_device, settings.label)
