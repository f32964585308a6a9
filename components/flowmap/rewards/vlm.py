"""A vision-language model as a reward: it is shown one picture at a time, and gives a mark from 0 to 10.

The endpoint speaks as OpenAI's chat completions do, as vLLM's and others' do. The answer is asked for by a
JSON schema; one that holds no mark is no verdict.
"""

from __future__ import annotations

import base64
import io
import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from flowmap.errors import RewardError
from flowmap.json_text import read_json
from flowmap.rewards.building import Materials
from flowmap.rewards.protocol import Samples
from flowmap.rewards.service import Service
from flowmap.settings import VlmSettings, environment

_HIGHEST = 10
_SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "mark",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"mark": {"type": "number", "minimum": 0, "maximum": _HIGHEST}},
            "required": ["mark"],
            "additionalProperties": False,
        },
    },
}


class VlmReward:
    """The mark of each picture, from 0 to 1.

    Args:
        service: its chat completions.
        model: as the service calls it.
        question: with `{prompt}` for a picture's prompt.
        concurrency: requests at once.
    """

    elsewhere = True

    def __init__(
        self, service: Service, model: str, question: str, concurrency: int = 8, name: str = "vlm"
    ) -> None:
        self.name, self.service, self.model, self.question = name, service, model, question
        self.concurrency = concurrency

    def score(self, samples: Samples) -> Tensor:
        """Raises RewardError when the service stays away, or answers as no such service does."""
        num_groups, num_members = samples.data.shape[:2]
        pictures = samples.data.flatten(0, 1).detach().float().cpu()
        prompts = [prompt for prompt in samples.prompts for _ in range(num_members)]
        with ThreadPoolExecutor(self.concurrency) as pool:
            marks = list(pool.map(self._ask, pictures, prompts))
        return torch.tensor(marks, device=samples.data.device).view(num_groups, num_members)

    def _ask(self, picture: Tensor, prompt: str) -> float:
        content: list[dict[str, Any]] = [
            {"type": "text", "text": self.question.replace("{prompt}", prompt)},
            {"type": "image_url", "image_url": {"url": _embedded(picture)}},
        ]
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            "response_format": _SCHEMA,
            "temperature": 0,
        }
        answer = self.service.post(json.dumps(body).encode())
        try:
            told = read_json(answer)["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError):
            said = answer[:200].decode(errors="replace")
            raise RewardError(
                f"reward {self.name}: {self.service.url} answered no chat completion but {said!r}"
            ) from None
        return _mark(told)


def _embedded(picture: Tensor) -> str:
    """As a PNG in a URL; of a picture in [-1, 1], (colours, rows, columns)."""
    levels = ((picture.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(levels if levels.shape[2] == 3 else levels[..., 0]).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _mark(told: Any) -> float:
    """From 0 to 1; NaN where an answer holds none."""
    try:
        mark = float(read_json(told)["mark"])
    except (ValueError, KeyError, TypeError):
        return math.nan
    return min(max(mark / _HIGHEST, 0.0), 1.0)


def build(settings: VlmSettings, materials: Materials) -> VlmReward:
    key = os.environ.get(environment.VLM_KEY)
    service = Service(
        settings.label,
        f"{settings.url.rstrip('/')}/chat/completions",
        concurrency=settings.concurrency,
        timeout_s=settings.timeout_s,
        tries=settings.tries,
        headers={"Authorization": f"Bearer {key}"} if key else None,
    )
    return VlmReward(service, settings.model, settings.question, settings.concurrency, settings.label)
