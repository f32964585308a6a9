"""What data_prep makes of prompts: which are kept apart from training, and what the base is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from flowmap.artifacts.digest import sha256_of
from flowmap.data.dataset import CAPTION, LABEL
from flowmap.errors import DataError
from flowmap.prompts.facts import PromptFacts, values_of
from flowmap.seeding import derived_seed
from flowmap.settings import KeptPrompts

_MOST_TRIES = 1000


def prompt_facts(
    prompts: Sequence[str], demanded: Mapping[str, Mapping[str, str]], kept: KeptPrompts | None
) -> PromptFacts | None:
    """What is known of the prompts, or None where that is nothing.

    Which are kept apart follows from their texts alone: other prompts that come do not move one from the
    end of the order to its beginning.

    Args:
        demanded: what each prompt demands, by attribute; empty where nothing is known.

    Raises:
        DataError: there are too few prompts to keep any apart.
    """
    if not demanded and kept is None:
        return None
    names = list(next(iter(demanded.values()))) if demanded else []
    attributes = {name: tuple(demanded[prompt][name] for prompt in prompts) for name in names}
    if kept is None:
        return PromptFacts(attributes=attributes)
    order = sorted(prompts, key=lambda prompt: sha256_of(prompt.encode()))
    num_never, num_grpo = (round(share * len(prompts)) for share in (kept.from_training, kept.from_grpo))
    if num_never + num_grpo >= len(prompts):
        raise DataError(
            f"data_prep.kept_prompts keeps {num_never + num_grpo} of {len(prompts)} prompts from GRPO: none "
            "is left for it"
        )
    return PromptFacts(
        attributes=attributes,
        kept_from_grpo=tuple(sorted(order[num_never : num_never + num_grpo])),
        never_seen=tuple(sorted(order[:num_never])),
    )


def with_captions(
    table: pd.DataFrame, prompts: tuple[str, ...], noise: float, facts: PromptFacts | None = None
) -> pd.DataFrame:
    """The table with the column `caption`: the label, but for a share of the base split another one.

    Which and what each datum's content decides. It is any of the prompts, or, where they are made of
    attributes, one of those with an attribute changed, each with probability `noise`.

    Raises:
        DataError: there is only one prompt, so no caption could be wrong.
    """
    if noise and len(prompts) == 1:
        raise DataError(
            f"data_prep.caption_noise is {noise:g}, and the data have one prompt only, {prompts[0]!r}: no "
            "caption could be wrong"
        )
    careless = None if facts is None or not facts.attributes else _Careless(prompts, facts, noise)

    def caption(digest: str, label: int, split: str) -> int:
        if split != "base" or not noise:
            return label
        if careless is not None:
            return careless.caption(digest, label)
        drawn = derived_seed("caption", digest)
        is_noisy = drawn % 2**32 < noise * 2**32
        return (drawn >> 32) % len(prompts) if is_noisy else label

    rows = zip(table["digest"], table[LABEL], table["split"], strict=True)
    return table.assign(**{CAPTION: [caption(*row) for row in rows]})


class _Careless:
    """Changes attributes of prompts, never to a prompt that training is not to see."""

    def __init__(self, prompts: Sequence[str], facts: PromptFacts, noise: float) -> None:
        self.noise = noise
        self.values = [values_of(values) for values in facts.attributes.values()]
        self.demanded = list(zip(*facts.attributes.values(), strict=True))
        never = set(facts.never_seen)
        self.index = {
            demanded: index
            for index, (prompt, demanded) in enumerate(zip(prompts, self.demanded, strict=True))
            if prompt not in never
        }

    def caption(self, digest: str, label: int) -> int:
        for attempt in range(_MOST_TRIES):
            told = tuple(
                self._told(derived_seed("caption", digest, attempt, place), value, values)
                for place, (value, values) in enumerate(zip(self.demanded[label], self.values, strict=True))
            )
            if told in self.index:
                return self.index[told]
        return label

    def _told(self, drawn: int, value: str, values: tuple[str, ...]) -> str:
        if drawn % 2**32 >= self.noise * 2**32 or len(values) == 1:
            return value
        others = [other for other in values if other != value]
        return others[(drawn >> 32) % len(others)]
