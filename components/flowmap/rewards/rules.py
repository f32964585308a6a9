"""Whether a picture shows what its prompt demands, as an object detector finds it: GenEval's conditions.

What a prompt demands are its facts `include` and `exclude`, as GenEval's file of prompts writes them; where
there is neither there is no verdict.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowmap.data.pretrained import pretrained_at_hand
from flowmap.errors import ConfigError
from flowmap.rewards.building import Materials
from flowmap.rewards.conditions import (
    Thing,
    classes_of,
    conditions_met,
    demands_anything,
    share_fulfilled,
)
from flowmap.rewards.protocol import Samples
from flowmap.rewards.python import function_of
from flowmap.settings import Pretrained, PythonRulesSettings, RulesSettings

Find = Callable[[Tensor, Sequence[str]], Sequence[Thing]]
NameColour = Callable[[Tensor, str], str]
_COLOURS = {  # GenEval's, as levels
    "red": (220, 30, 30),
    "orange": (240, 140, 20),
    "yellow": (245, 225, 40),
    "green": (40, 160, 60),
    "blue": (40, 80, 220),
    "purple": (130, 50, 170),
    "pink": (245, 150, 190),
    "brown": (120, 75, 40),
    "black": (20, 20, 20),
    "white": (245, 245, 245),
}
_CORE = 0.25  # of a box on each side: what is left out to see a thing and not what lies around it


class RulesReward:
    """The share of its conditions that a picture meets, or with `strict` whether it meets all.

    Args:
        find: things of some classes in a picture, (3, rows, columns) in [0, 1].
        name_colour: that of a thing, from its part of the picture and its class.
        counting: the confidence that counts where a number is demanded; the detector's own elsewhere.

    Source: GenEval (arXiv 2310.11513); partial credit for it as in Flow-GRPO (arXiv 2505.05470).
    """

    def __init__(
        self,
        find: Find,
        name_colour: NameColour,
        *,
        counting: float = 0.9,
        strict: bool = False,
        name: str = "rules",
    ) -> None:
        self.name, self.find, self.name_colour = name, find, name_colour
        self.counting, self.strict = counting, strict

    @torch.no_grad()
    def score(self, samples: Samples) -> Tensor:
        """Raises ConfigError for what is no picture in colours or grey."""
        scores = [
            [
                share_fulfilled(self._found(picture, facts), facts, strict=self.strict)
                if demands_anything(facts)
                else math.nan
                for picture in group
            ]
            for facts, group in zip(samples.facts, self._pictures(samples), strict=True)
        ]
        return torch.tensor(scores, device=samples.data.device)

    @torch.no_grad()
    def met(self, samples: Samples) -> list[list[dict[str, bool]]]:
        """Of each sample its conditions in words, and whether they are met; by groups and members."""
        return [
            [
                conditions_met(self._found(picture, facts), facts) if demands_anything(facts) else {}
                for picture in group
            ]
            for facts, group in zip(samples.facts, self._pictures(samples), strict=True)
        ]

    def _pictures(self, samples: Samples) -> Tensor:
        """(groups, members, 3, rows, columns) in [0, 1]."""
        if samples.data.dim() != 5 or samples.data.shape[2] not in (1, 3):
            raise ConfigError(
                f"reward {self.name}: it looks at pictures, and samples have the shape "
                f"{tuple(samples.data.shape[2:])}"
            )
        return ((samples.data.clamp(-1, 1) + 1) / 2).expand(-1, -1, 3, -1, -1)

    def _found(self, picture: Tensor, facts: Any) -> list[Thing]:
        """Things of the classes that are demanded, with their colours where those are."""
        found = list(self.find(picture, classes_of(facts)))
        if any("count" in each and int(each["count"]) > 1 for each in facts.get("include") or ()):
            found = [thing for thing in found if thing.confidence >= self.counting]
        if any("color" in each for each in facts.get("include") or ()):
            found = [
                thing if thing.colour else replace(thing, colour=self._colour(picture, thing))
                for thing in found
            ]
        return found

    def _colour(self, picture: Tensor, thing: Thing) -> str:
        rows, columns = picture.shape[1:]
        left, top, right, bottom = (max(0, round(each)) for each in thing.box)
        top, left = min(top, rows - 1), min(left, columns - 1)
        return self.name_colour(
            picture[:, top : max(bottom, top + 1), left : max(right, left + 1)], thing.name
        )


def nearest_colour(part: Tensor, name: str) -> str:
    """The colour whose levels the middle of a part (3, rows, columns) in [0, 1] is nearest to, by the
    median."""
    rows, columns = (int(side * _CORE) for side in part.shape[1:])
    core = part[:, rows : part.shape[1] - rows, columns : part.shape[2] - columns]
    seen = core.flatten(1).median(1).values * 255
    return min(_COLOURS, key=lambda each: float((seen - torch.tensor(_COLOURS[each]).to(seen)).norm()))


def build(settings: RulesSettings | PythonRulesSettings, materials: Materials) -> RulesReward:
    """Raises ConfigError or DataError where a model can't be fetched or is of another class, or there is no
    such function."""
    find: Find
    if isinstance(settings, PythonRulesSettings):
        find = function_of(settings)
    else:
        find = detector(settings, materials.device, settings.threshold, f"reward {settings.label}")
    return RulesReward(
        find,
        nearest_colour,
        counting=settings.counting_threshold,
        strict=settings.strict,
        name=settings.label,
    )


def detector(settings: Pretrained, device: torch.device, threshold: float, where: str) -> Find:
    """An object detector of transformers: one of fixed classes, such as DETR's or YOLOS's, or one that is
    told them, such as OWLv2's.

    Raises ConfigError where it is none, or can't be read.
    """
    from transformers import (
        AutoConfig,
        AutoImageProcessor,
        AutoModelForObjectDetection,
        AutoModelForZeroShotObjectDetection,
        AutoProcessor,
    )
    from transformers.models.auto import modeling_auto

    with tempfile.TemporaryDirectory() as scratch:
        folder = pretrained_at_hand(settings, where, Path(scratch))
        try:
            kinds = modeling_auto.MODEL_FOR_ZERO_SHOT_OBJECT_DETECTION_MAPPING_NAMES
            told = AutoConfig.from_pretrained(folder).model_type in kinds
            kind = AutoModelForZeroShotObjectDetection if told else AutoModelForObjectDetection
            model = kind.from_pretrained(folder, use_safetensors=True)
            processor = (AutoProcessor if told else AutoImageProcessor).from_pretrained(folder)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{where}: {settings.source} is no detector of transformers that can be read: "
                f"{str(error).splitlines()[0]}"
            ) from None
    model = model.to(device).eval().requires_grad_(False)
    names = {index: str(label) for index, label in model.config.id2label.items()}

    def find(picture: Tensor, classes: Sequence[str]) -> list[Thing]:
        shown = (picture * 255).round().byte().cpu()
        size = [tuple(picture.shape[1:])]
        if told:
            texts = [[f"a photo of a {name}" for name in classes]]
            inputs, of = processor(text=texts, images=shown, return_tensors="pt"), dict(enumerate(classes))
            after = processor.post_process_grounded_object_detection
        else:
            inputs, of = processor(images=shown, return_tensors="pt"), names
            after = processor.post_process_object_detection
        (seen,) = after(model(**inputs.to(device)), threshold=threshold, target_sizes=size)
        return [
            Thing(of[int(label)], tuple(box.tolist()), float(score))
            for label, box, score in zip(seen["labels"], seen["boxes"], seen["scores"], strict=True)
            if of[int(label)] in classes
        ]

    return find
