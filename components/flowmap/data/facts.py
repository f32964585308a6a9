"""What data_prep says of the data, for those who read no data."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from flowmap.prompts.facts import PromptFacts

FACTS = "data.json"


class DataFacts(BaseModel):
    """What later steps need to know without reading pixels.

    Attributes:
        modality: what kind of data they are.
        prompts: the prompts; a datum's label is an index into them.
        shape: of every datum.
        num_read: data in the source.
        num_duplicates: those that were dropped because the same is there under the same prompt.
        num_conflicts: those that were dropped because the same is there under another prompt.
        num_excluded: those that were left out because somebody asked for it.
        num_miscaptioned: data of the base split whose caption was drawn at random and is not what they show.
        splits: number of data of each split.
        counts: number of data of each prompt in each split.
        expectations: what was checked, as rows of name, column and figures.
        num_preferences: pairs in the user's own preference table that may be used; None without one.
        prompt_facts: what prompts demand, and which are kept apart; None where nothing is known, and then it
            is not written either, as before there was such a thing.
        context: the shape of what is known beforehand, where each prompt is an occasion and a datum is what
            came of it; None elsewhere.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    modality: str
    prompts: tuple[str, ...]
    shape: tuple[int, ...]
    num_read: int
    num_duplicates: int
    num_conflicts: int = 0
    num_excluded: int = Field(default=0, exclude_if=lambda num: num == 0)
    num_miscaptioned: int = 0
    splits: dict[str, int]
    counts: dict[str, dict[str, int]]
    expectations: tuple[dict[str, Any], ...]
    num_preferences: int | None = None
    prompt_facts: PromptFacts | None = Field(default=None, exclude_if=lambda known: known is None)
    context: tuple[int, ...] | None = Field(default=None, exclude_if=lambda known: known is None)

    @property
    def prompts_alone(self) -> bool:
        """Whether there are no data, only prompts."""
        return not any(self.splits.values())
