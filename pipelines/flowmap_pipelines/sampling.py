"""Sampling from a registered model.

    images = generate(store, version, prompt="3", num=16, num_evaluations=4, seed=0)     # (16, 1, 8, 8)

The same seed gives the same samples, on the grid that was trained where the number of evaluations is that
grid's.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowmap.artifacts.store import ObjectStore
from flowmap.data.prompts import normal_prompt
from flowmap.errors import ConfigError
from flowmap.maps import grid_for
from flowmap.modality import IMAGES, pictures
from flowmap.models.storing import load_model, read_model_facts
from flowmap.registry import Registry, Version
from flowmap.seeding import derived_seed
from flowmap.training.devices import device

_SHEET_PX = 640
_PART = 256


def generate(
    store: ObjectStore, version: Version, *, prompt: str, num: int, num_evaluations: int | None, seed: int
) -> Tensor:
    """Samples of a prompt, shape (num, *data) in [-1, 1]; sample i of a seed is the same whatever `num` is.

    `num_evaluations` of None is as many as the model was trained for.

    Raises:
        ConfigError: the model does not know the prompt; the message lists those it knows.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        Registry(store, version.name).download(version, folder)
        facts, model = read_model_facts(folder), load_model(folder, "ema", device())
    prompt = normal_prompt(prompt)
    if prompt not in facts.prompts:
        raise ConfigError(f"prompt {prompt!r}: {version.name} knows {', '.join(facts.prompts)}")
    assert facts.grid is not None  # every published model was fine-tuned
    grid = grid_for(num_evaluations or len(facts.grid) - 1, facts.grid)
    samples = []
    for start in range(0, num, _PART):
        indices = range(start, min(start + _PART, num))
        noise = torch.stack([_noise(model.codec.state_shape, seed, index) for index in indices])
        samples.append(model.sample([prompt] * len(indices), noise, grid).cpu())
    return torch.cat(samples)


def save_samples(samples: Tensor, path: Path) -> None:
    """Write `.npz`, one array `samples` of shape (N, *data), or `.png`, a contact sheet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        np.savez(path, samples=samples.numpy())
        return
    num_columns = min(8, len(samples))
    shown = pictures(IMAGES)
    scale = shown.sheet_scale(samples.shape[1:], _SHEET_PX, num_columns)
    path.write_bytes(shown.contact_sheet(samples, num_columns, scale))


def _noise(shape: tuple[int, ...], seed: int, index: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(derived_seed(seed, "sample", index)))
