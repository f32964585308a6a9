"""A flow-matching transformer, which knows one time, as the beginning of a map that knows two.

Nothing is changed at first but the embedding of time: they take the sines of 1000 t, whose slope drowns
that of everything else along the path, and MeanFlow learns from slopes. So t is embedded at low frequencies,
and the two layers behind the sines are fitted anew to what they gave before. The embedding of t - r, which
is added to it, starts at zero.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from flowmap.errors import ConfigError
from flowmap.models import TextToImageFacts
from flowmap.progress import Progress, say
from flowmap.text_to_image.families import fresh_transformer

_EMBEDDING = "time_text_embed"
_UPDATES, _TIMES, _LEARNING_RATE = 2000, 1024, 3e-3
_MOST_OFF = 0.25  # of what the old embedding varies by


def converted(
    weights: Mapping[str, Tensor], facts: TextToImageFacts, device: torch.device
) -> dict[str, Tensor]:
    """A transformer's weights under the names that they have where it knows two times.

    Args:
        weights: of diffusers' own transformer, by its names.
        facts: of the transformer that is to be: with two times, and no vectors of places.

    Raises:
        ConfigError: its embedding of time can't be had at low frequencies.
    """
    transformer = fresh_transformer(facts)
    there = {_renamed(name): value for name, value in weights.items()}
    transformer.load_state_dict({**transformer.state_dict(), **there})
    off = _fit_times(transformer.time_text_embed.stock, transformer.config.time_scale, device)
    say(f"base_training: times at low frequencies; their embedding is off by {off:.1%} of what it varies by")
    if off > _MOST_OFF:
        raise ConfigError(
            f"base_training.checkpoint.convert: the embedding of time varies too fast to be had at low "
            f"frequencies: it would be off by {off:.0%} of what it varies by, and {_MOST_OFF:.0%} is allowed"
        )
    found: dict[str, Tensor] = transformer.state_dict()
    return found


def _renamed(name: str) -> str:
    first, _, rest = name.partition(".")
    return f"{first}.stock.{rest}" if first == _EMBEDDING else name


@torch.enable_grad()
def _fit_times(embedding: Any, scale: float, device: torch.device) -> float:
    """Let an embedding give for 1000 t * scale what it gave for 1000 t; returns how far off that is, over
    the standard deviation of what it was.

    Source: the sines of `Timesteps` in diffusers.
    """
    layers = embedding.timestep_embedder
    before = copy.deepcopy(layers).to(device, torch.float32)
    fitted = copy.deepcopy(layers).to(device, torch.float32).requires_grad_(True)

    def sines(t: Tensor) -> Tensor:
        found: Tensor = embedding.time_proj(1000 * t)
        return found

    t = torch.linspace(0, 1, _TIMES, device=device)
    with torch.no_grad():
        wanted, given = before(sines(t)), sines(scale * t)
    spread = float((wanted - wanted.mean(0)).square().mean().sqrt())
    optimizer = torch.optim.Adam(fitted.parameters(), _LEARNING_RATE)
    with Progress("base_training: times", _UPDATES) as progress:
        for update in range(_UPDATES):
            for group in optimizer.param_groups:
                group["lr"] = _LEARNING_RATE * (1 + math.cos(math.pi * update / _UPDATES)) / 2
            loss = (fitted(given) - wanted).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            progress.update(error=float(loss.detach()))
    layers.load_state_dict(fitted.state_dict())
    off = (fitted(given) - wanted).square().mean().sqrt()
    return float(off.detach()) / max(spread, 1e-12)
