"""What one architecture differs in from another; everything else of this room is the same for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowmap.models import TextToImageFacts
from flowmap.text_to_image.network import TransformerNetwork
from flowmap.text_to_image.text import TextEncoders

Config = Mapping[str, Any]  # of a part, as its config.json has it

# Every linear layer of a block with streams of their own for text and image.
BLOCK_LAYERS = (
    "attn.to_q",
    "attn.to_k",
    "attn.to_v",
    "attn.to_out.0",
    "attn.add_q_proj",
    "attn.add_k_proj",
    "attn.add_v_proj",
    "attn.to_add_out",
    "ff.net.0.proj",
    "ff.net.2",
    "ff_context.net.0.proj",
    "ff_context.net.2",
)


@dataclass(frozen=True)
class Family:
    """An architecture.

    Attributes:
        pipeline: diffusers' class of it.
        stock: diffusers' class of its transformer; it knows one time.
        two_times: the class that knows a second.
        text: its text encoders.
        network: the transformer as a network of this package, from facts and transformer.
        facts: the class of its facts.
        sizes: from facts to what its transformer is made with.
        told_by: from a transformer's configuration, and the folder of all parts, to the facts that other
            architectures do not have.
        pooled_width: that the transformer is to take, from the configurations of the text encoders.
        patch: latents on the side of a token, from a transformer's configuration.
        most_tokens: that its T5 read of a text when it was trained, from a transformer's configuration, or
            None where that is not known. Places without a text count too: nothing hides them.
        packed: whether the transformer takes tokens, of patches' values, in the place of latents.
        adapted: the layers that adapters are laid on, by how their names end.
    """

    pipeline: Any
    stock: Any
    two_times: Any
    text: type[TextEncoders]
    network: Callable[[Any, Any], TransformerNetwork]
    facts: type[TextToImageFacts]
    sizes: Callable[[Any], dict[str, Any]]
    told_by: Callable[[Config, Path], dict[str, Any]]
    pooled_width: Callable[[Sequence[Config]], int]
    patch: Callable[[Config], int]
    most_tokens: Callable[[Config | None], int]
    packed: bool
    adapted: tuple[str, ...]

    @property
    def folders(self) -> tuple[str, ...]:
        """Of a checkpoint, those that are read."""
        return ("transformer", "vae", *self.text.folders())
