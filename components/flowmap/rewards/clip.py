"""How well pictures fit their prompts, in the eyes of a CLIP model: CLIPScore, and PickScore or HPSv2 where
the model is theirs."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoTokenizer, CLIPModel

from flowmap.data.pretrained import pretrained_at_hand
from flowmap.errors import ConfigError
from flowmap.rewards.building import Materials
from flowmap.rewards.fitting import MEAN, STD, fitted, pictures_of
from flowmap.rewards.protocol import Samples
from flowmap.settings import AestheticSettings, ClipSettings, HpsSettings, PickScoreSettings

with torch.device("cpu"):  # before transformers loads anything: flowmap.text_to_image says why
    torch.empty(0)

_PART = 64
AsClip = ClipSettings | PickScoreSettings | HpsSettings | AestheticSettings


class ClipReward:
    """The cosine between the embeddings of picture and prompt, times the model's scale.

    Args:
        model: a `CLIPModel`; tokenizer: that belongs to it.
        mean, std: of each colour, that the model's pictures are normalised by.

    Source: CLIPScore (arXiv 2104.08718), without its factor; PickScore (arXiv 2305.01569).
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        name: str = "clip",
    ) -> None:
        self.name, self.model, self.tokenizer = name, model.eval().requires_grad_(False), tokenizer
        self._mean, self._std = (torch.tensor(each).view(3, 1, 1) for each in (mean, std))
        self._known: dict[str, Tensor] = {}

    def score(self, samples: Samples) -> Tensor:
        """Raises ConfigError for what is no picture in colours or grey."""
        told = torch.stack([self._text(prompt) for prompt in samples.prompts])
        cosine = (self.embedded(samples) * told[:, None]).sum(-1)
        found: Tensor = cosine * self.model.logit_scale.exp()
        return found

    def embedded(self, samples: Samples) -> Tensor:
        """Each picture's embedding, of unit length, (groups, members, width).

        Raises ConfigError for what is no picture in colours or grey.
        """
        pictures = pictures_of(samples, self.name).split(_PART)
        seen = torch.cat([self._embedded(part) for part in pictures])
        found: Tensor = seen.unflatten(0, samples.data.shape[:2])
        return found

    def _embedded(self, pictures: Tensor) -> Tensor:
        side = self.model.config.vision_config.image_size
        seen = self.model.vision_model(fitted(pictures, side, self._mean, self._std)).pooler_output
        return F.normalize(self.model.visual_projection(seen), dim=-1)

    @torch.no_grad()
    def _text(self, prompt: str) -> Tensor:
        if prompt not in self._known:
            longest = self.model.config.text_config.max_position_embeddings
            told = self.tokenizer([prompt], truncation=True, max_length=longest, return_tensors="pt")
            pooled = self.model.text_model(told.input_ids.to(self.model.device)).pooler_output
            self._known[prompt] = F.normalize(self.model.text_projection(pooled), dim=-1)[0]
        return self._known[prompt]


def build(settings: AsClip, materials: Materials) -> ClipReward:
    """Raises ConfigError or DataError where the model can't be fetched or is of another class."""
    where = f"reward {settings.label}"
    with tempfile.TemporaryDirectory() as scratch:
        folder = pretrained_at_hand(settings, where, Path(scratch))
        config = folder / "config.json"
        kind = json.loads(config.read_text()).get("model_type") if config.is_file() else None
        if kind != "clip":
            raise ConfigError(f"{where}: {settings.source} is no CLIP model of transformers, but {kind}")
        try:
            model = CLIPModel.from_pretrained(folder, use_safetensors=True)
        except OSError as error:
            raise ConfigError(f"{where}: {str(error).splitlines()[0]}") from None
        tokenizer = AutoTokenizer.from_pretrained(folder)
        look = folder / "preprocessor_config.json"
        told = json.loads(look.read_text()) if look.is_file() else {}
    return ClipReward(
        model.to(materials.device),
        tokenizer,
        mean=told.get("image_mean", MEAN),
        std=told.get("image_std", STD),
        name=settings.label,
    )
