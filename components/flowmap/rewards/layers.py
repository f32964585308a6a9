"""Linear layers one after the other, with nothing between them: what marks are read from a model's embedding
by."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from flowmap.data.external import local_path
from flowmap.data.remote import fetch_source, is_remote
from flowmap.errors import ConfigError

Layers = Sequence[tuple[Tensor, Tensor]]  # weight (out, in) and bias (out,) of each
_WEIGHT = re.compile(r"(?:layers\.)?(\d+)\.weight")


def applied(layers: Layers, embedding: Tensor) -> Tensor:
    """The mark of each embedding, (..., width) to (...)."""
    for weight, bias in layers:
        embedding = embedding @ weight.T + bias
    return embedding[..., 0]


def read_layers(source: str, where: str, width: int, of: str) -> Layers:
    """From a file of safetensors, `layers.<n>.weight` and `.bias`, in the order of n.

    Args:
        source: the file, or `s3://...`; where: the setting, for messages.
        width: of the embedding that they are to take, which is `of` something.

    Raises ConfigError where there are none, or they do not lead from that width to one number.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = fetch_source(source, Path(scratch)) if is_remote(source) else local_path(source)
        try:
            found = load_file(path)
        except (OSError, SafetensorError) as error:
            raise ConfigError(
                f"{where}: {source} can't be read as safetensors ({error}); what is pickled becomes them by "
                "safetensors.torch.save_file(torch.load(FILE, weights_only=True), NEW)"
            ) from None
    numbers = sorted(int(match[1]) for match in map(_WEIGHT.fullmatch, found) if match)
    prefix = "layers." if any(name.startswith("layers.") for name in found) else ""
    try:
        layers = [
            (found[f"{prefix}{n}.weight"].float(), found[f"{prefix}{n}.bias"].float()) for n in numbers
        ]
    except KeyError as error:
        raise ConfigError(f"{where}: {source} has no {error.args[0]}") from None
    if not layers:
        raise ConfigError(f"{where}: {source} has no layers.<n>.weight")
    sizes = [width, *(len(bias) for _, bias in layers)]
    if [weight.shape[1] for weight, _ in layers] != sizes[:-1] or sizes[-1] != 1:
        told = " to ".join(map(str, [layers[0][0].shape[1], *sizes[1:]]))
        raise ConfigError(f"{where}: {source} leads from {told}, and from {width}, {of}, to 1 is asked for")
    return layers
