"""From features to the logits of prompts: through what prompts demand, where that is known.

Hundreds of prompts made of a few attributes are told apart by a handful of classes each, so that data of
one prompt teach what others have in common with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from flowmap.prompts.facts import PromptFacts, values_of


def prompt_head(num_features: int, num_prompts: int, facts: PromptFacts | None = None) -> nn.Module:
    """Fresh; from features (batch, num_features) to logits (batch, num_prompts)."""
    if facts is None or not facts.attributes:
        return nn.Linear(num_features, num_prompts)
    return AttributeHead(num_features, facts.attributes)


class AttributeHead(nn.Module):
    """The logit of a prompt is the sum of the log-probabilities of the values that it demands.

    Args:
        attributes: the value that each prompt demands, in the prompts' order, by the attribute's name.
    """

    index: Tensor

    def __init__(self, num_features: int, attributes: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        classes = [values_of(values) for values in attributes.values()]
        demanded = [
            [known.index(value) for value in values]
            for known, values in zip(classes, attributes.values(), strict=True)
        ]
        self.heads = nn.ModuleList(nn.Linear(num_features, len(known)) for known in classes)
        self.register_buffer("index", torch.tensor(demanded), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        told = [
            head(features).log_softmax(-1)[:, index]
            for head, index in zip(self.heads, self.index, strict=True)
        ]
        return torch.stack(told).sum(0)
