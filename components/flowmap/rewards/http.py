"""A service as a reward: samples go out in batches, several requests at once, and scores come back.

A request is a POST with the JSON `{"shape": [batch, *data], "samples": <base64 of float32, little-endian>,
"prompts": [...], "facts": [...]}`, a prompt and its facts for each sample. The answer is `{"scores":
[...]}`, one number each, or null for no verdict. `examples/reward_server.py` is a server to start from.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from flowmap.errors import RewardError
from flowmap.json_text import read_json
from flowmap.rewards.building import Materials
from flowmap.rewards.protocol import Samples
from flowmap.rewards.service import Service
from flowmap.settings import HttpSettings


class HttpReward:
    """Asks a service, and asks again with growing pauses while it is away; others draw in the meantime.

    Args:
        url: where to POST.
        batch: samples in a request; concurrency: requests at once.
        timeout_s: of one request; tries: of one request.
        first_pause_s: before the second try; each further pause is twice as long, up to half a minute.
    """

    elsewhere = True

    def __init__(
        self,
        url: str,
        *,
        batch: int = 64,
        concurrency: int = 4,
        timeout_s: float = 60.0,
        tries: int = 5,
        first_pause_s: float = 0.5,
        name: str = "http",
    ) -> None:
        self.name, self.url, self.batch, self.concurrency = name, url, batch, concurrency
        self._service = Service(
            name, url, concurrency=concurrency, timeout_s=timeout_s, tries=tries, first_pause_s=first_pause_s
        )

    def score(self, samples: Samples) -> Tensor:
        """Raises RewardError when the service stays away or answers something else than scores."""
        num_groups, num_members = samples.data.shape[:2]
        flat = samples.data.flatten(0, 1).detach().float().cpu()
        prompts = [prompt for prompt in samples.prompts for _ in range(num_members)]
        facts = [fact for fact in samples.facts for _ in range(num_members)]

        def ask(start: int) -> list[float]:
            end = start + self.batch
            return self._ask(flat[start:end], prompts[start:end], facts[start:end])

        with ThreadPoolExecutor(self.concurrency) as pool:
            scores = [score for part in pool.map(ask, range(0, len(flat), self.batch)) for score in part]
        return torch.tensor(scores, device=samples.data.device).view(num_groups, num_members)

    def _ask(self, data: Tensor, prompts: Sequence[str], facts: Sequence[Mapping[str, Any]]) -> list[float]:
        body = json.dumps(
            {
                "shape": list(data.shape),
                "samples": base64.b64encode(data.numpy().astype("<f4").tobytes()).decode(),
                "prompts": list(prompts),
                "facts": list(facts),
            }
        ).encode()
        return self._scores(self._service.post(body), len(data))

    def _scores(self, answer: bytes, expected: int) -> list[float]:
        try:
            scores = [math.nan if score is None else float(score) for score in read_json(answer)["scores"]]
        except (ValueError, KeyError, TypeError):
            told = answer[:200].decode(errors="replace")
            raise RewardError(
                f'reward {self.name}: {self.url} answered no {{"scores": [...]}} but {told!r}'
            ) from None
        if len(scores) != expected:
            raise RewardError(
                f"reward {self.name}: {self.url} gave {len(scores)} scores for {expected} samples"
            )
        return scores


def build(settings: HttpSettings, materials: Materials) -> HttpReward:
    return HttpReward(
        settings.url,
        batch=settings.batch,
        concurrency=settings.concurrency,
        timeout_s=settings.timeout_s,
        tries=settings.tries,
        name=settings.label,
    )
