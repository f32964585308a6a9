"""Where the judge's accuracy comes from: prompt by prompt, by what prompts demand, by what training has
seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from flowmap.data.facts import DataFacts
from flowmap.evaluation.measure import Measured
from flowmap.prompts.facts import values_of

Row = dict[str, float | None]
_COLUMNS = ("base", "anchor", "incumbent", "tuned", "baseline")


@dataclass(frozen=True)
class Read:
    """What the judge takes samples for.

    Attributes:
        prompt: what each is to show, (N,).
        told: what the judge says, (N,).
    """

    prompt: Tensor
    told: Tensor

    def share(self, chosen: Tensor, right: Tensor) -> float | None:
        """How many of the chosen samples are right; None where there are none."""
        return float(right[chosen].float().mean()) if bool(chosen.any()) else None


def read_of(
    models: Mapping[str, Mapping[int, Measured]], trained: int, prompt: Tensor, real: Read
) -> dict[str, Read]:
    """Every model on the trained grid, and held-out real data."""
    drawn = {
        name: Read(prompt, models[name][trained].told)
        for name in _COLUMNS
        if trained in models.get(name, {})
    }
    return {**drawn, "real": real}


def by_prompt(columns: Mapping[str, Read], facts: DataFacts) -> dict[str, Row]:
    """How often each prompt is recognised, of those that samples were drawn for."""
    asked = set(torch.cat([column.prompt for name, column in columns.items() if name != "real"]).tolist())
    return {
        prompt: {
            name: column.share(column.prompt == index, column.told == column.prompt)
            for name, column in columns.items()
        }
        for index, prompt in enumerate(facts.prompts)
        if index in asked
    }


def by_set(columns: Mapping[str, Read], facts: DataFacts) -> dict[str, Row]:
    """How often prompts are recognised that training has seen, and others; empty where it has seen all."""
    known = facts.prompt_facts
    sets = {} if known is None else known.sets(facts.prompts)
    if len(sets) < 2 or facts.context is not None:  # nobody has seen an occasion that is judged
        return {}
    return {
        name: {
            column: each.share(torch.isin(each.prompt, torch.tensor(indices)), each.told == each.prompt)
            for column, each in columns.items()
        }
        for name, indices in sets.items()
    }


def by_attribute(columns: Mapping[str, Read], facts: DataFacts) -> dict[str, Row]:
    """How often each attribute is as demanded, whatever the others are; without data, where nobody takes a
    sample for another prompt, how often each category of prompts is as asked. Empty without attributes."""
    attributes = {} if facts.prompt_facts is None else facts.prompt_facts.attributes
    if facts.prompts_alone:
        return _by_category(columns, attributes)
    found: dict[str, Row] = {}
    for name, values in attributes.items():
        order = sorted(set(values))
        value = torch.tensor([order.index(each) for each in values])
        found[name] = {
            column: each.share(
                torch.ones_like(each.told, dtype=torch.bool), value[each.told] == value[each.prompt]
            )
            for column, each in columns.items()
        }
    return found


def _by_category(columns: Mapping[str, Read], attributes: Mapping[str, tuple[str, ...]]) -> dict[str, Row]:
    """And their mean, each counting alike, which is how GenEval (arXiv 2310.11513) tells its score."""
    found: dict[str, Row] = {}
    for name, values in attributes.items():
        rows = {
            f"{name}: {category}": {
                column: each.share(
                    torch.tensor([values[prompt] == category for prompt in each.prompt.tolist()]),
                    each.told == each.prompt,
                )
                for column, each in columns.items()
            }
            for category in values_of(values)
        }
        found |= {**rows, f"{name}, mean of these": {column: _mean(rows, column) for column in columns}}
    return found


def _mean(rows: Mapping[str, Row], column: str) -> float | None:
    shares = [share for row in rows.values() if (share := row[column]) is not None]
    return fmean(shares) if shares else None
