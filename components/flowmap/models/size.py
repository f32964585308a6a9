"""How large a model is, by a count and without torch."""

from __future__ import annotations

from dataclasses import dataclass

_FREQUENCIES = 64

# Values of a transformer's block that its backward pass needs, for each token and in widths: norms,
# modulated, heads, attended, four widths twice.
KEPT_TRANSFORMER_WIDTHS = 18


@dataclass(frozen=True)
class ModelSize:
    """What a model takes, in numbers (not bytes): parameters, activations a sample, and values of one
    state."""

    parameters: int
    activations: int
    state: int


def linear(inputs: int, outputs: int) -> int:
    """Parameters of a linear layer with a bias."""
    return inputs * outputs + outputs


def embeddings(width: int, num_prompts: int) -> int:
    """Of two times and the prompt."""
    return 2 * (linear(_FREQUENCIES, width) + linear(width, width)) + num_prompts * width
