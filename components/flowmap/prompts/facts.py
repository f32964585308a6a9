"""What each prompt demands, by attribute, and which prompts some of the training never sees.

facts = PromptFacts(attributes={"colour": ("red", "blue")}, kept_from_grpo=("a blue cat",))
facts.demanded(0)                       # {"colour": "red"}
facts.of_grpo(["a red cat", "a blue cat"])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

_NAMED = 10
TRAINED, KEPT_FROM_GRPO, NEVER_SEEN = "trained", "kept from GRPO", "never seen"


class PromptFacts(BaseModel):
    """Of prompts that stand in an order of their own elsewhere.

    Attributes:
        attributes: the value that each prompt demands, in the prompts' order, by the attribute's name.
        kept_from_grpo: prompts that base training sees, and GRPO does not.
        never_seen: prompts that neither sees, as captions or as data.
        told: what else each prompt demands, in the prompts' order: for rewards that check it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    attributes: Mapping[str, tuple[str, ...]] = {}
    kept_from_grpo: tuple[str, ...] = ()
    never_seen: tuple[str, ...] = ()
    told: tuple[Mapping[str, Any], ...] = Field(default=(), exclude_if=lambda told: not told)

    def demanded(self, index: int) -> dict[str, Any]:
        """What the prompt of that index demands, by attribute, and what else is known of it."""
        attributes = {name: values[index] for name, values in self.attributes.items()}
        return attributes | dict(self.told[index] if self.told else {})

    def of_grpo(self, prompts: Sequence[str]) -> list[int]:
        """The indices of those prompts that GRPO draws."""
        apart = {*self.kept_from_grpo, *self.never_seen}
        return [index for index, prompt in enumerate(prompts) if prompt not in apart]

    def sets(self, prompts: Sequence[str]) -> dict[str, list[int]]:
        """The indices of the prompts by what has seen them; none that is empty."""
        apart = {KEPT_FROM_GRPO: set(self.kept_from_grpo), NEVER_SEEN: set(self.never_seen)}
        found = {TRAINED: self.of_grpo(prompts)} | {
            name: [index for index, prompt in enumerate(prompts) if prompt in chosen]
            for name, chosen in apart.items()
        }
        return {name: indices for name, indices in found.items() if indices}


def some_of(prompts: Sequence[str]) -> str:
    """The first ten for a message, and that there are more."""
    more = f", and {len(prompts) - _NAMED} more" if len(prompts) > _NAMED else ""
    return ", ".join(prompts[:_NAMED]) + more


def values_of(attribute: Sequence[str]) -> tuple[str, ...]:
    """The different values of an attribute, sorted."""
    return tuple(sorted(set(attribute)))
