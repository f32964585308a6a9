"""Prompts as they are compared: what looks equal is equal."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping


def normal_prompt(text: str) -> str:
    """A prompt in Unicode's composed form (NFC), without blanks at its ends and with single ones inside."""
    return unicodedata.normalize("NFC", " ".join(text.split()))


def differ_by_case(counts: Mapping[str, int]) -> list[str]:
    """Prompts that differ by capitals alone, as `'Cat' (3), 'cat' (20)`: one entry for each such group.

    Args:
        counts: how many data each prompt has.
    """
    alike: dict[str, list[str]] = defaultdict(list)
    for prompt in sorted(counts):
        alike[prompt.casefold()].append(prompt)
    groups: Iterable[list[str]] = (group for group in alike.values() if len(group) > 1)
    return [", ".join(f"{prompt!r} ({counts[prompt]})" for prompt in group) for group in groups]
