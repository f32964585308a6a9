"""What lies beside a model's weights in an artifact, by its folder."""

from __future__ import annotations

from collections.abc import Iterable

# Folders of what lies beside the weights and no training changes, called as in a diffusers pipeline.
AUTOENCODER = "vae"
_NUMBERS = ("", "_2", "_3")  # an architecture has up to three text encoders
PARTS = (AUTOENCODER, *(f"{kind}{number}" for kind in ("text_encoder", "tokenizer") for number in _NUMBERS))
ADAPTERS = "lora"  # the folder of those that were trained, where they alone were


def parts_among(paths: Iterable[str]) -> tuple[str, ...]:
    """Those files of an artifact that belong to such parts, or to adapters."""
    return tuple(path for path in paths if path.partition("/")[0] in (*PARTS, ADAPTERS))
