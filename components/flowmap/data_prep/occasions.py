"""Data whose prompts are occasions: each has a context of its own, and one datum that came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from flowmap.modality.protocols import Read
from flowmap.prompts.facts import PromptFacts


def in_splits(found: Read) -> Read:
    """Without the data that lie between two splits."""
    if found.splits is None:
        return found
    inside = [index for index, split in enumerate(found.splits) if split]
    return replace(
        found,
        ids=[found.ids[index] for index in inside],
        data=found.data[inside],
        prompts=[found.prompts[index] for index in inside],
        origins=None if found.origins is None else [found.origins[index] for index in inside],
        context=None if found.context is None else found.context[inside],
        splits=[found.splits[index] for index in inside],
    )


def occasion_facts(found: Read, prompts: Sequence[str]) -> PromptFacts:
    """GRPO draws what reward training has; base training has seen others, and nobody those that are
    judged."""
    assert found.splits is not None
    split_of = dict(zip(found.prompts, found.splits, strict=True))
    return PromptFacts(
        kept_from_grpo=tuple(prompt for prompt in prompts if split_of[prompt] == "base"),
        never_seen=tuple(prompt for prompt in prompts if split_of[prompt] in ("judge", "holdout")),
    )


def contexts(found: Read, prompts: Sequence[str]) -> NDArray[np.float32]:
    """That of each prompt, in their order, (prompts, *context)."""
    assert found.context is not None
    row = {prompt: index for index, prompt in enumerate(found.prompts)}
    return found.context[[row[prompt] for prompt in prompts]]
