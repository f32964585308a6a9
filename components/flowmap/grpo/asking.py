"""Rewards are asked about a rollout while it is drawn.

    with Asking(rewards, groups, group_size=24) as asking:
        asking.add(data)                  # for each part of it
        scores = asking.scores()

A reward that computes elsewhere, `elsewhere = True`, gets groups as soon as they are whole, on the
processor, while the next ones are drawn: a service, or what reads pictures on the processor. All others see
the rollout at its end, for they compute on the device that draws. That changes no verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from flowmap.grpo.advantages import check
from flowmap.grpo.scoring import Scores
from flowmap.rewards.protocol import Prompt, Reward, Samples, Weighted


class Asking:
    """The rewards of one rollout of one process.

    Args:
        groups: the prompt of each group, in the order in which they are drawn.
        group_size: members of each.
    """

    def __init__(self, rewards: Sequence[Weighted], groups: Sequence[Prompt], group_size: int) -> None:
        self.rewards = [each.reward for each in rewards]
        self.groups, self.group_size = groups, group_size
        self._elsewhere = [
            _Elsewhere(each) if getattr(each, "elsewhere", False) else None for each in self.rewards
        ]
        self._data: list[Tensor] = []
        self._num_asked = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in filter(None, self._elsewhere):
            each.thread.shutdown(cancel_futures=True)

    def add(self, data: Tensor) -> None:
        """The next samples (num, *data), decoded; a group may go on in the next part."""
        self._data.append(data)
        num_whole = sum(map(len, self._data)) // self.group_size
        if not any(self._elsewhere) or num_whole == self._num_asked:
            return
        ready = self._samples(self._num_asked, num_whole, torch.device("cpu"))
        self._num_asked = num_whole
        for each in filter(None, self._elsewhere):
            each.raise_early()
            each.ask(ready)

    def scores(self) -> Scores:
        """Every reward of all samples, when the last of them has answered. Raises what a reward raises."""
        device = self._data[0].device
        everything = self._samples(0, len(self.groups), device)
        values = []
        for reward, asked in zip(self.rewards, self._elsewhere, strict=True):
            value = asked.answers().to(device) if asked else _score(reward, everything)
            check(value, f"reward {reward.name}")
            values.append(value)
        return Scores([reward.name for reward in self.rewards], values)

    def _samples(self, first: int, last: int, device: torch.device) -> Samples:
        groups, size = self.groups[first:last], self.group_size
        data = self._data[0] if len(self._data) == 1 else torch.cat(self._data)
        chosen = data[first * size : last * size].to(device).unflatten(0, (len(groups), size))
        return Samples(chosen, [each.text for each in groups], [each.facts for each in groups])


class _Elsewhere:
    """A reward in a thread of its own, which is asked about one lot after the other."""

    def __init__(self, reward: Reward) -> None:
        self.reward, self.thread = reward, ThreadPoolExecutor(1)
        self._asked: list[Future[Tensor]] = []

    def ask(self, samples: Samples) -> None:
        self._asked.append(self.thread.submit(_score, self.reward, samples))

    def raise_early(self) -> None:
        """What went wrong by now, before more is drawn for nothing."""
        for each in self._asked:
            if each.done():
                each.result()

    def answers(self) -> Tensor:
        return torch.cat([each.result() for each in self._asked])


@torch.no_grad()  # which holds in the thread that it is called in
def _score(reward: Reward, samples: Samples) -> Tensor:
    return reward.score(samples)
