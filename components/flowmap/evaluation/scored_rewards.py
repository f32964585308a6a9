"""What rewards say of the gate's samples: those that GRPO was paid by, and those that are only evaluated.

Whoever is paid by one judge's taste learns that taste. What others say of the same samples tells whether
more than that was learnt: a candidate should not lose what it was not paid for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from flowmap.data.facts import DataFacts
from flowmap.errors import RewardError
from flowmap.evaluation.intervals import UNKNOWN, Interval, stratified_interval
from flowmap.progress import Progress, say
from flowmap.prompts.facts import PromptFacts
from flowmap.rewards.protocol import Reward, Samples, Weighted

_MOST_UNSCORED = 0.5
Parts = Iterable[tuple[Tensor, Tensor]]
Scores = np.ndarray[tuple[int], np.dtype[np.float64]]


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
    lists: Mapping[str, Sequence[Weighted]],
    drawn: Mapping[str, Parts],
    facts: DataFacts,
    prompt: Tensor,
    device: torch.device,
    shown_only: Sequence[str] = (),
) -> dict[str, dict[str, Scored]]:
    """What each reward says of every model's samples, by its list and its name there.

    Args:
        lists: of rewards, by the setting that names them.
        drawn: samples in parts, by the model's name: `tuned` and `anchor` among them.
        prompt: of each sample, (N,), those of a prompt one after the other and as many of each.
        shown_only: lists whose rewards decide nothing: one that says too little is left out, and that is
            said.

    Raises:
        RewardError: more than half of a model's samples are without a verdict.
    """
    asked = [_Asked(where, each.reward) for where, each_list in lists.items() for each in each_list]
    with Progress("evaluation: rewards", len(drawn)) as progress:
        for model, parts in drawn.items():
            _ask(asked, model, parts, facts, prompt, device, shown_only)
            progress.update()
    found: dict[str, dict[str, Scored]] = {where: {} for where in lists}
    for each in asked:
        if each.given_up:
            continue
        found[each.where][each.reward.name] = Scored(
            {model: float(np.nanmean(values)) for model, values in each.values.items()},
            _difference(each.values["tuned"], each.values["anchor"], prompt.numpy()),
            float(np.nanstd(each.values["anchor"])),
        )
    return found


@dataclass
class _Asked:
    """One reward of a list, and its scores of every model's samples, (N,), as far as they are known."""

    where: str
    reward: Reward
    values: dict[str, Scores] = field(default_factory=dict)
    given_up: bool = False


def _difference(
    new: Scores,
    old: Scores,
    prompt: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> Interval:
    """Unknown where a prompt has fewer than two pairs with a verdict."""
    both = ~np.isnan(new - old)
    if min((int(both[prompt == each].sum()) for each in np.unique(prompt)), default=0) < 2:
        return UNKNOWN
    return stratified_interval((new - old)[both], prompt[both])


@torch.no_grad()
def _ask(
    asked: Sequence[_Asked],
    model: str,
    parts: Parts,
    facts: DataFacts,
    prompt: Tensor,
    device: torch.device,
    shown_only: Sequence[str],
) -> None:
    """Every reward about all samples of a model."""
    known = facts.prompt_facts or PromptFacts()
    scores: list[list[Tensor]] = [[] for _ in asked]
    for data, index in _groups(parts, prompt):
        samples = Samples(
            data.to(device),
            [facts.prompts[each] for each in index],
            [known.demanded(each) for each in index],
        )
        for each, kept in zip(asked, scores, strict=True):
            if each.given_up:
                continue
            try:
                kept.append(each.reward.score(samples).flatten().double().cpu())
            except RewardError as error:
                _give_up(each, str(error), shown_only)
    for each, kept in zip(asked, scores, strict=True):
        if each.given_up:
            continue
        each.values[model] = torch.cat(kept).numpy()
        if (unscored := float(np.isnan(each.values[model]).mean())) > _MOST_UNSCORED:
            told = f"{each.reward.name} gave no verdict for {unscored:.0%} of the samples of {model}"
            _give_up(each, f"{each.where}: {told}", shown_only)


def _give_up(each: _Asked, why: str, shown_only: Sequence[str]) -> None:
    if each.where not in shown_only:
        raise RewardError(why)
    each.given_up = True
    say(f"evaluation: what {each.reward.name} paid is not shown: {why}")


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
