"""A model as a folder that diffusers' own pipeline loads and samples, for people who have no flowmap.

write_pipeline(directory, "ema", folder)

import flowmap.text_to_image.transformer                    # says what FlowMapTransformer is
pipeline = FluxPipeline.from_pretrained(folder, trust_remote_code=True)
pipeline("a red three on blue", sigmas=[1.0, 0.75, 0.5, 0.25], guidance_scale=0.0)
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path

from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline

from flowmap.models.facts import FluxFacts
from flowmap.models.model import Model
from flowmap.text_to_image import transformer
from flowmap.text_to_image.latents import LatentCodec
from flowmap.text_to_image.network import FluxNetwork
from flowmap.text_to_image.text import TextConditioner

# The transformer's class lies beside its weights, as diffusers wants it of a class that it does not have.
_MODULE, _CLASS = "flow_map_transformer", "FlowMapTransformer"
_INDEX = "model_index.json"
_CARD = """---
library_name: diffusers
pipeline_tag: text-to-image
---
# A flow map of {num_evaluations} evaluations

{sizes}

```python
import torch
from diffusers import FluxPipeline

# The code is transformer/flow_map_transformer.py: read it before you trust it.
pipeline = FluxPipeline.from_pretrained(".", trust_remote_code=True)
pipeline.tokenizer_max_length = {num_tokens}
pipeline(
    "{prompt}",
    sigmas={sigmas},  # these times and no others: the pipeline's own are another grid
    height={height},
    width={width},
    max_sequence_length={num_tokens},
    guidance_scale=0.0,
    generator=torch.Generator().manual_seed(0),
).images[0].save("sample.png")
```
"""


def pipeline_of(model: Model, facts: FluxFacts, grid: tuple[float, ...]) -> FluxPipeline:
    """The stock pipeline around a model's parts; its transformer knows the grid, for its second times."""
    network, codec, conditioner = model.network, model.codec, model.conditioner
    assert isinstance(network, FluxNetwork)
    assert isinstance(codec, LatentCodec)
    assert isinstance(conditioner, TextConditioner)
    network.transformer.register_to_config(grid=tuple(grid))
    encoders = conditioner.encoders
    pipeline = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=codec.vae,
        text_encoder=encoders.clip,
        tokenizer=encoders.clip_tokenizer,
        text_encoder_2=encoders.t5,
        tokenizer_2=encoders.t5_tokenizer,
        transformer=network.transformer,
    )
    pipeline.tokenizer_max_length = facts.num_tokens
    return pipeline


def write_pipeline(model: Model, facts: FluxFacts, grid: tuple[float, ...], folder: Path) -> None:
    """Leave the pipeline's folders, the transformer's source and a card that says how to draw."""
    pipeline_of(model, facts, grid).save_pretrained(folder)
    (folder / "transformer" / f"{_MODULE}.py").write_text(inspect.getsource(transformer))
    index = json.loads((folder / _INDEX).read_text())
    index["transformer"] = [_MODULE, _CLASS]
    (folder / _INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    height, width = facts.shape[-2:]
    sizes = f"{facts.size().parameters:,} parameters; pictures of {height} x {width}; times {list(grid)}."
    if facts.sampler is not None:
        sizes += (
            " It was judged with stochastic transitions, which flowmap draws and this pipeline does not."
        )
    card = _CARD.format(
        num_evaluations=len(grid) - 1,
        sizes=sizes,
        num_tokens=facts.num_tokens,
        prompt=facts.prompts[0],
        sigmas=list(grid[:-1]),
        height=height,
        width=width,
    )
    (folder / "README.md").write_text(card)
