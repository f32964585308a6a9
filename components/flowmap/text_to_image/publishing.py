"""A model as a folder that diffusers' own pipeline loads and samples, for people who have no flowmap.

write_pipeline(model, facts, grid, folder)
write_adapters_card(facts, grid, folder / "lora", section.checkpoint)

pipeline = FluxPipeline.from_pretrained(folder, trust_remote_code=True)   # or StableDiffusion3Pipeline
pipeline("a red three on blue", sigmas=[1.0, 0.75, 0.5, 0.25], guidance_scale=0.0)

A map of two times is a class that diffusers does not have, whose source goes along. A checkpoint of few
steps that is tuned as it is, such as FLUX.1-schnell, is diffusers' own class, and needs no other code.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from diffusers import FlowMatchEulerDiscreteScheduler

from flowmap.models import TextToImageFacts
from flowmap.models.model import Model
from flowmap.settings import Pretrained
from flowmap.text_to_image import transformer
from flowmap.text_to_image.families import family_of
from flowmap.text_to_image.latents import LatentCodec
from flowmap.text_to_image.network import TransformerNetwork
from flowmap.text_to_image.parts import write_own
from flowmap.text_to_image.text import TextConditioner

# The transformer's class lies beside its weights, as diffusers wants it of a class that it does not have.
_MODULE = "flow_map_transformer"
_INDEX = "model_index.json"
_CARD = """---
library_name: diffusers
pipeline_tag: text-to-image
---
# A flow map of {num_evaluations} evaluations

{sizes}

```python
import torch
from diffusers import {pipeline}

{loading}
{drawing}
```
"""
_ADAPTERS_CARD = """---
library_name: diffusers
pipeline_tag: text-to-image
tags: [lora]
---
# Adapters for a flow map of {num_evaluations} evaluations

They belong to {base} and to no other: another one of its architecture takes them without a word, and draws
something else.

```python
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, {pipeline}

{loading}
pipeline.scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)  # the times below are as they are meant
pipeline.load_lora_weights(".")
{drawing}
```
"""
_LOADING = "pipeline = {pipeline}.from_pretrained({place!r}, torch_dtype=torch.{precision}{more})"
_READ_FIRST = "# The code is transformer/flow_map_transformer.py there: read it before you trust it.\n"
_DRAWING = """pipeline.to("cuda" if torch.cuda.is_available() else "cpu")
pipeline(
    {prompt!r},
    sigmas={sigmas},  # these times and no others: the pipeline's own are another grid
    height={height},
    width={width},
    max_sequence_length={num_tokens},
    guidance_scale={guidance},
    generator=torch.Generator().manual_seed(0),
).images[0].save("sample.png")"""
_STOCHASTIC = " It was judged with stochastic transitions, which flowmap draws and this pipeline does not."


def pipeline_of(model: Model, facts: TextToImageFacts, grid: tuple[float, ...]) -> Any:
    """The stock pipeline around a model's parts; its transformer knows the grid, for its second times."""
    network, codec, conditioner = model.network, model.codec, model.conditioner
    assert isinstance(network, TransformerNetwork)
    assert isinstance(codec, LatentCodec)
    assert isinstance(conditioner, TextConditioner)
    if facts.two_times:
        network.transformer.register_to_config(grid=tuple(grid))
    return family_of(facts).pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=codec.vae,
        transformer=network.transformer,
        **conditioner.encoders.parts(),
    )


def write_pipeline(model: Model, facts: TextToImageFacts, grid: tuple[float, ...], folder: Path) -> None:
    """Leave the pipeline's folders, the transformer's source and a card that says how to draw."""
    pipeline_of(model, facts, grid).save_pretrained(folder)
    write_own(folder, facts)
    if facts.two_times:
        (folder / "transformer" / f"{_MODULE}.py").write_text(inspect.getsource(transformer))
        index = json.loads((folder / _INDEX).read_text())
        index["transformer"] = [_MODULE, family_of(facts).two_times.__name__]
        (folder / _INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    sizes = f"{facts.size().parameters:,} parameters; pictures of {_by(facts)}; times {list(grid)}."
    card = _CARD.format(
        pipeline=family_of(facts).pipeline.__name__,
        num_evaluations=len(grid) - 1,
        sizes=sizes + (_STOCHASTIC if facts.sampler is not None else ""),
        loading=_loading(facts, ".", None),
        drawing=_drawing(facts, grid),
    )
    (folder / "README.md").write_text(card)


def write_adapters_card(
    facts: TextToImageFacts, grid: tuple[float, ...], folder: Path, checkpoint: Pretrained | None
) -> None:
    """Leave a card beside adapters that says what they are laid on, and how to draw then.

    Args: checkpoint: that was tuned as it is. One that is no name on the hub is not told: where somebody
        keeps it is nobody's business. None for a map that flowmap made.
    """
    place, revision = "FOLDER", None
    told = "the base that they were trained on, exported as this was,"
    if checkpoint is not None and checkpoint.revision is not None:
        place, revision = checkpoint.source, checkpoint.revision
        told = f"`{place}` at commit {revision}"
    elif checkpoint is not None:
        told = "the checkpoint that was tuned, in a folder of its own,"
    card = _ADAPTERS_CARD.format(
        pipeline=family_of(facts).pipeline.__name__,
        num_evaluations=len(grid) - 1,
        base=told,
        loading=_loading(facts, place, revision),
        drawing=_drawing(facts, grid),
    )
    (folder / "README.md").write_text(card)


def _loading(facts: TextToImageFacts, place: str, revision: str | None) -> str:
    name = family_of(facts).pipeline.__name__
    more = f", revision={revision!r}" if revision else ""
    more += ", trust_remote_code=True" if facts.two_times else ""
    loading = _LOADING.format(pipeline=name, place=place, precision=facts.precision, more=more)
    return (_READ_FIRST if facts.two_times else "") + loading


def _drawing(facts: TextToImageFacts, grid: tuple[float, ...]) -> str:
    height, width = facts.shape[-2:]
    return _DRAWING.format(
        prompt=facts.prompts[0],
        sigmas=list(grid[:-1]),
        height=height,
        width=width,
        num_tokens=facts.num_tokens,
        guidance=facts.told_guidance,
    )


def _by(facts: TextToImageFacts) -> str:
    height, width = facts.shape[-2:]
    return f"{height} x {width}"
