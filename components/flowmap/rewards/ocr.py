"""Whether a picture shows the text that its prompt asks for, as a text recogniser reads it.

The text is the prompt's fact `text`, or else what stands in quotation marks in the prompt; where there is
neither there is no verdict.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from flowmap.errors import ConfigError
from flowmap.rewards.building import Materials
from flowmap.rewards.protocol import Samples
from flowmap.settings import OcrSettings

Read = Callable[[Tensor], str]
_QUOTED = re.compile(r"\"([^\"]+)\"|“([^”]+)”|'([^']+)'")
_ONE_LINE = 64  # pictures of fewer rows are taken for a line of text, larger ones are searched for lines
_LEAST_SIDE = 32


class OcrReward:
    """1 less the edit distance between what is read and what was asked for, in lengths of the latter; at
    least 0. Capitals and blanks do not count.

    Args:
        read: the text in a picture, (colours, rows, columns) of bytes.

    Source: the reward for text rendering of Flow-GRPO (arXiv 2505.05470).
    """

    elsewhere = True

    def __init__(self, read: Read, name: str = "ocr") -> None:
        self.name, self.read = name, read

    def score(self, samples: Samples) -> Tensor:
        """Raises ConfigError for what is no picture in colours or grey."""
        scores = [
            [math.nan if text is None else likeness(self.read(picture), text) for picture in group]
            for text, group in self._asked(samples)
        ]
        return torch.tensor(scores, device=samples.data.device)

    def met(self, samples: Samples) -> list[list[dict[str, bool]]]:
        """Of each sample what is read there, and whether that was asked for; by groups and members."""

        def told(picture: Tensor, text: str | None) -> dict[str, bool]:
            if text is None:
                return {}
            read = self.read(picture)
            return {f"reads “{read}”" if read else "reads nothing": likeness(read, text) == 1}

        return [[told(picture, text) for picture in group] for text, group in self._asked(samples)]

    def _asked(self, samples: Samples) -> Iterator[tuple[str | None, Tensor]]:
        """Of each group the text that it is to show, and its pictures in bytes."""
        if samples.data.dim() != 5 or samples.data.shape[2] not in (1, 3):
            raise ConfigError(
                f"reward {self.name}: it reads pictures, and samples have the shape "
                f"{tuple(samples.data.shape[2:])}"
            )
        levels = ((samples.data.detach().clamp(-1, 1) + 1) * 127.5).round().byte().cpu()
        wanted = [wanted_text(*each) for each in zip(samples.prompts, samples.facts, strict=True)]
        return zip(wanted, levels, strict=True)


def wanted_text(prompt: str, facts: Mapping[str, Any]) -> str | None:
    """What a picture is to say."""
    if "text" in facts:
        return str(facts["text"])
    quoted = _QUOTED.search(prompt)
    return None if quoted is None else next(filter(None, quoted.groups()))


def likeness(read: str, wanted: str) -> float:
    """From 0 to 1."""
    found, asked = ("".join(text.casefold().split()) for text in (read, wanted))
    return max(0.0, 1 - edit_distance(found, asked) / max(len(asked), 1))


def edit_distance(one: str, other: str) -> int:
    """Characters to insert, delete or replace (Levenshtein 1966)."""
    before = list(range(len(other) + 1))
    for row, character in enumerate(one, 1):
        here = [row]
        for column, opposite in enumerate(other, 1):
            replaced = before[column - 1] + (character != opposite)
            here.append(min(replaced, before[column] + 1, here[-1] + 1))
        before = here
    return before[-1]


def build(settings: OcrSettings, materials: Materials) -> OcrReward:
    """Raises ConfigError where the recogniser is not installed."""
    try:
        from rapidocr_onnxruntime import RapidOCR
    except ImportError:
        raise ConfigError(
            f"reward {settings.label} reads with the package rapidocr-onnxruntime: pip install "
            "'flowmap[ocr]'"
        ) from None
    threads = torch.get_num_threads()  # by itself it takes all cores, in each of a training's processes
    engine = RapidOCR(intra_op_num_threads=threads, inter_op_num_threads=1)

    def read(picture: Tensor) -> str:
        shown = picture.expand(3, -1, -1).permute(1, 2, 0)
        scale = -(-_LEAST_SIDE // min(shown.shape[:2]))
        if scale > 1:
            shown = shown.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
        is_line = picture.shape[1] < _ONE_LINE
        rows, _ = engine(shown.numpy(), use_det=not is_line, use_cls=False)
        return " ".join(row[0] if is_line else row[1] for row in rows or [])

    return OcrReward(read, settings.label)
