"""What rewards say of the gate's samples: those that GRPO was paid by, and those that are only evaluated.

Whoever is paid by one judge's taste learns that taste. What others say of the same samples tells whether
more than that was learnt: a candidate should not lose what it was not paid for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowmap.data.facts import DataFacts
from flowmap.errors import RewardError
from flowmap.evaluation.intervals import UNKNOWN, Interval, stratified_interval
from flowmap.progress import Progress
from flowmap.prompts.facts import PromptFacts
from flowmap.rewards.building import Materials, build_rewards
from flowmap.rewards.protocol import Reward, Samples
from flowmap.settings import AnyReward

_MOST_UNSCORED = 0.5
Parts = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Scored:
    """What one reward says.

    Attributes:
        means: of each model's samples that have a verdict, by its name.
        difference: candidate less anchor, a 95 % interval over pairs that both have one.
        spread: the standard deviation of the anchor's.
    """

    means: Mapping[str, float]
    difference: Interval
    spread: float


def score_rewards(
    lists: Mapping[str, Sequence[AnyReward]],
    trained: Path,
    drawn: Mapping[str, Parts],
    facts: DataFacts,
    prompt: Tensor,
    device: torch.device,
) -> dict[str, dict[str, Scored]]:
    """What each reward says of every model's samples, by its list and its name there.

    Args:
        lists: of rewards, by the setting that names them.
        drawn: samples in parts, by the model's name: `tuned` and `anchor` among them.
        prompt: of each sample, (N,), those of a prompt one after the other and as many of each.

    Raises:
        RewardError: more than half of a model's samples are without a verdict.
    """
    materials, names, rewards = Materials(trained, device), [], []
    for where, settings in lists.items():
        rewards += [each.reward for each in build_rewards(settings, materials)]
        names += [(where, each.label) for each in settings]
    values = {}
    with Progress("evaluation: rewards", len(drawn)) as progress:
        for model, parts in drawn.items():
            values[model] = _values(rewards, parts, facts, prompt, device)
            progress.update()
    found: dict[str, dict[str, Scored]] = {where: {} for where in lists}
    for index, (where, name) in enumerate(names):
        of_model = {model: each[index] for model, each in values.items()}
        for model, each in of_model.items():
            if (unscored := float(np.isnan(each).mean())) > _MOST_UNSCORED:
                raise RewardError(
                    f"{where}: {name} gave no verdict for {unscored:.0%} of the samples of {model}"
                )
        found[where][name] = Scored(
            {model: float(np.nanmean(each)) for model, each in of_model.items()},
            _difference(of_model["tuned"], of_model["anchor"], prompt.numpy()),
            float(np.nanstd(of_model["anchor"])),
        )
    return found


def _difference(
    new: np.ndarray[tuple[int], np.dtype[np.float64]],
    old: np.ndarray[tuple[int], np.dtype[np.float64]],
    prompt: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> Interval:
    """Unknown where a prompt has fewer than two pairs with a verdict."""
    both = ~np.isnan(new - old)
    if min((int(both[prompt == each].sum()) for each in np.unique(prompt)), default=0) < 2:
        return UNKNOWN
    return stratified_interval((new - old)[both], prompt[both])


@torch.no_grad()
def _values(
    rewards: Sequence[Reward], parts: Parts, facts: DataFacts, prompt: Tensor, device: torch.device
) -> list[np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Of each reward its scores of all samples, (N,)."""
    known = facts.prompt_facts or PromptFacts()
    scores: list[list[Tensor]] = [[] for _ in rewards]
    for data, index in _groups(parts, prompt):
        samples = Samples(
            data.to(device),
            [facts.prompts[each] for each in index],
            [known.demanded(each) for each in index],
        )
        for reward, kept in zip(rewards, scores, strict=True):
            kept.append(reward.score(samples).flatten().double().cpu())
    return [torch.cat(each).numpy() for each in scores]


def _groups(parts: Parts, prompt: Tensor) -> Iterator[tuple[Tensor, list[int]]]:
    """Whole groups of a prompt, (groups, members, *data), with the prompts' indices."""
    num_each = len(prompt) // len(prompt.unique())
    rest = torch.empty(0)
    told: list[int] = []
    for data, index in parts:
        rest = data if not len(rest) else torch.cat([rest, data])
        told += index.tolist()
        whole = len(rest) // num_each * num_each
        if whole:
            yield rest[:whole].unflatten(0, (-1, num_each)), told[:whole:num_each]
            rest, told = rest[whole:], told[whole:]
