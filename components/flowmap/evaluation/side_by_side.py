"""Samples beside each other with their captions, and what of each caption is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from flowmap.data.facts import DataFacts
from flowmap.evaluation.measure import Measured
from flowmap.evaluation.shown import first_of_each, shown_indices, some_of

_MOST = 10  # prompts


@dataclass(frozen=True)
class Shown:
    """One sample.

    Attributes:
        picture: (1, *data), made small.
        right: whether the judge takes it for what was asked for.
        met: what was asked for in words, and whether it is there.
    """

    picture: Tensor
    right: bool
    met: Mapping[str, bool]


def side_by_side(
    models: Mapping[str, Measured], prompt: Tensor, facts: DataFacts, names: Sequence[str]
) -> dict[str, dict[str, Shown]]:
    """The first sample of each model for some prompts, by caption and by model; empty where nobody can say
    more of a sample than whether it is right.

    Args:
        models: with the samples at `shown_indices`.
        prompt: of each sample, (N,).
        names: of models, from left to right.
    """
    at = shown_indices(prompt, facts.shape)
    chosen = first_of_each(prompt[at], 1, some_of(prompt[at], _MOST)).tolist()

    def shown(name: str, place: int) -> Shown:
        measured = models[name]
        met = measured.shown_met[place] if measured.shown_met else {}
        index = int(prompt[at[place]])
        told = int(measured.told[at[place]])
        return Shown(
            measured.shown[place : place + 1],
            bool(measured.shown_right[place]),
            met or _attributes(facts, index, told),
        )

    found = {
        facts.prompts[int(prompt[at[place]])]: {name: shown(name, place) for name in names}
        for place in chosen
    }
    return found if any(each.met for row in found.values() for each in row.values()) else {}


def _attributes(facts: DataFacts, prompt: int, told: int) -> dict[str, bool]:
    """What a prompt demands, and whether the one that the judge takes a sample for demands the same."""
    if facts.prompts_alone or facts.prompt_facts is None or facts.context is not None:
        return {}
    attributes = facts.prompt_facts.attributes
    return {
        f"{name}: {values[prompt]}": values[prompt] == values[told] for name, values in attributes.items()
    }
