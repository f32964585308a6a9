"""A folder with a model's whole sampler as one ONNX file, and what is needed to call it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from flowmap.asfmc import Policy
from flowmap.exporting.about import About
from flowmap.exporting.graph import TOLERANCE, condition_of, write_sampler
from flowmap.models import ModelFacts
from flowmap.models.model import Model

SAMPLER, CONDITIONS = "sampler.onnx", "conditions.npz"
_README = """# {name} as an ONNX graph

`{sampler}` is the whole sampler, {evaluations} evaluations of the map at the times {grid}: noise and a
condition in, samples out. It needs onnxruntime and numpy. It was read back and run beside the model: they
agree to {tolerance:g} of the samples' spread.

```python
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

here = Path(".")
config = json.loads((here / "config.json").read_text())
sampler = onnxruntime.InferenceSession(here / "{sampler}")
{choice}
noise = np.random.default_rng(0).standard_normal(({count}, *config["inputs"]["noise"]["shape"][1:]))
(samples,) = sampler.run(None, {{"noise": noise.astype(np.float32), **condition}})
```

{inputs}

`samples` has shape ({count}, {shape}){scale}. {conditions}{policy}
"""
_CHOICE = """\
prompts = [config["prompts"][0]] * {count}
rows = [config["prompts"].index(prompt) for prompt in prompts]
condition = {{name: table[rows] for name, table in np.load(here / "{conditions}").items()}}"""
_COUNT = 8


def write_onnx_folder(
    model: Model, facts: ModelFacts, policy: Policy | None, about: About, folder: Path, **more: Any
) -> None:
    """Leaves `sampler.onnx`, the condition of every prompt, `config.json` and a README with code that runs.

    Args:
        more: what else `config.json` says.

    Raises:
        ConfigError: it is larger than one ONNX file can be.
        IntegrityError: what was written does not do what the model does.
    """
    inputs = write_sampler(model, facts, about.grid, policy, folder / SAMPLER)
    table = condition_of(model, facts, len(facts.prompts))
    arrays: Any = {name: np.asarray(leaf) for name, leaf in table.items()}
    np.savez(folder / CONDITIONS, **arrays)
    about.write(folder, facts, inputs=described(inputs), **more)
    lines = [
        f"- `{name}`: {told['dtype']}, ({', '.join(map(str, told['shape']))})"
        for name, told in described(inputs).items()
    ]
    readme = _README.format(
        name=about.name,
        sampler=SAMPLER,
        evaluations=len(about.grid) - 1,
        grid=", ".join(f"{each:g}" for each in about.grid),
        tolerance=TOLERANCE,
        choice=_CHOICE.format(count=_COUNT, conditions=CONDITIONS),
        count=_COUNT,
        inputs="\n".join(lines),
        shape=", ".join(map(str, facts.shape)),
        scale=", pictures in [-1, 1]" if facts.modality == "images" else "",
        conditions=_told(table),
        policy=(
            ""
            if policy is None
            else " This model ships stochastic transitions: their noise comes after the start's."
        ),
    )
    (folder / "README.md").write_text(readme)


def described(inputs: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    """Kind and shape of each, the first axis being the batch."""
    return {
        name: {"dtype": str(value.dtype).removeprefix("torch."), "shape": ["batch", *value.shape[1:]]}
        for name, value in inputs.items()
    }


def _told(table: Mapping[str, Tensor]) -> str:
    if "prompt" in table:
        return f"A prompt is its place among `prompts` of `config.json`; `{CONDITIONS}` has them all."
    if "context" in table:
        return (
            f"`{CONDITIONS}` has what was known at the occasions that training knew; give another `context` "
            "of the same scale for one of your own."
        )
    return (
        f"`{CONDITIONS}` has what the text encoders, which are not inside, say of each prompt of "
        "`config.json`."
    )
