"""What is asked of models: the prompt of each sample that they are judged by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from flowmap.data.dataset import read_split
from flowmap.data.facts import DataFacts
from flowmap.evaluation.amounts import num_asked
from flowmap.evaluation.outcomes import occasions_asked
from flowmap.prompts.facts import PromptFacts
from flowmap.settings import Evaluation

_FORECASTS, _MOST_OCCASIONS = 16, 128


def prompts_asked(section: Evaluation, facts: DataFacts, data: Path) -> Tensor:
    """The prompt of each sample, (N,): as many of each; of occasions those that nobody has seen.

    Of prompts without data, of which there may be any number, those that `spread` takes.
    """
    if facts.context is not None:
        num_each = section.samples_per_prompt or _FORECASTS
        return occasions_asked(read_split(data, "holdout"), num_each, _MOST_OCCASIONS)
    num, num_each = num_asked(section, len(facts.prompts), alone=facts.prompts_alone)
    chosen = list(range(num))
    if facts.prompts_alone:
        sets = (facts.prompt_facts or PromptFacts()).sets(facts.prompts).values()
        chosen = spread([*sets], num)
    return torch.tensor(chosen).repeat_interleave(num_each)


def spread(sets: Sequence[Sequence[int]], most: int) -> list[int]:
    """So many at most, rising: as many of each set where it has them, evenly spaced in its order."""
    chosen: list[int] = []
    for place, indices in enumerate(sorted(sets, key=len)):
        share = min(len(indices), (most - len(chosen)) // (len(sets) - place))
        at = torch.linspace(0, len(indices) - 1, share).round().long().tolist()
        chosen += [indices[each] for each in at]
    return sorted(chosen)
