"""The many-step baseline of a base, and what it teaches the map.

baseline = load_baseline(directory, device)              # drawn by `euler`, guided where its map is
taught = taught_by(directory, device)                    # for `mean_flow_loss`
"""

from __future__ import annotations

from pathlib import Path

import torch

from flowmap.maps import FlowMap, OneTimeMap
from flowmap.maps.flow_map import OneTimeNetwork
from flowmap.maps.guidance import guided, pull
from flowmap.maps.objectives import Taught
from flowmap.models.model import Model
from flowmap.models.storing import AS_BASE, AS_BASELINE, load_model, read_model_facts
from flowmap.models.text_to_image_facts import TextToImageFacts

_CPU = torch.device("cpu")
_NO_PROMPT = [""]


def load_baseline(directory: Path, device: torch.device = _CPU) -> Model:
    """A base's velocity, or the map where there is no other.

    Where the map has guidance built in the velocity is guided: each evaluation is two passes of the network.
    """
    is_there = (directory / f"{AS_BASELINE}.safetensors").is_file()
    model = load_model(directory, AS_BASELINE if is_there else AS_BASE, device)
    scale, plain = guidance_of(directory), model.make_map
    if scale is not None:
        unconditional = model.condition(_NO_PROMPT)

        def make_map(network: OneTimeNetwork) -> FlowMap:
            return OneTimeMap(guided(plain(network).velocity, unconditional, scale), "velocity")

        model.make_map = make_map
    return model


def guidance_of(directory: Path) -> float | None:
    """The scale of classifier-free guidance that a base's map has built in."""
    facts = read_model_facts(directory)
    return facts.guidance if isinstance(facts, TextToImageFacts) else None


def taught_by(directory: Path, device: torch.device = _CPU) -> Taught | None:
    """What the velocity of a base as it lies there, frozen, teaches the map; None where it is to learn from
    the data alone.

    Guidance is built in by adding (scale - 1) (v(x, t, condition) - v(x, t)) to the data's velocity: the
    sum's mean over the data is the guided velocity. From the network that is being trained, or from its
    average, MeanFlow diverges. A model that is told its guidance, being distilled from it, has the guided
    velocity alone, which no data have: that takes the place of theirs.

    Source: MeanFlow (arXiv 2505.13447), equations 13 to 15, with a teacher in the network's place.
    """
    facts, scale = read_model_facts(directory), guidance_of(directory)
    told = isinstance(facts, TextToImageFacts) and facts.told_guidance > 0
    if scale is None and not told:
        return None
    teacher = load_model(directory, AS_BASELINE, device)
    if scale is None:
        return lambda velocity, x, t, condition: teacher.flow_map.velocity(x, t, condition)
    more, towards = scale - 1, pull(teacher.flow_map.velocity, teacher.condition(_NO_PROMPT))
    return lambda velocity, x, t, condition: velocity + more * towards(x, t, condition)
