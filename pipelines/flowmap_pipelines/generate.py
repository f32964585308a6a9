"""Sampling from a registered model.

    version = find_version(store, "digits@production")
    images = generate(store, version, prompt="3", num=16, num_evaluations=4, seed=0)     # (16, 1, 8, 8)

The same seed gives the same samples, on the grid that was trained where the number of evaluations is that grid's.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowmap.artifacts.store import ObjectStore
from flowmap.data.pictures import contact_sheet
from flowmap.errors import ConfigError
from flowmap.maps import TwoTimeMap, compose, grid_for
from flowmap.networks import load_network, read_model_facts
from flowmap.registry import Registry, UnknownModelError, Version, model_names
from flowmap.seeding import derived_seed

_SHEET_PX = 640


def find_version(store: ObjectStore, reference: str, default: str = "production") -> Version:
    """The version that NAME, NAME@VERSION or NAME@ALIAS stands for. Raises UnknownModelError."""
    name, _, which = reference.partition("@")
    known = model_names(store)
    if name not in known:
        there = f"there is {', '.join(known)}" if known else "there is no model yet; `flowmap run` makes one"
        raise UnknownModelError(f"{name!r}: no such model in {store.url}; {there}")
    return Registry(store, name).resolve(which or default)


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
        facts, network = read_model_facts(folder), load_network(folder, "ema")
    if prompt not in facts.prompts:
        raise ConfigError(f"prompt {prompt!r}: {version.name} knows {', '.join(facts.prompts)}")
    noise = torch.stack([_noise(facts.shape, seed, index) for index in range(num)])
    chosen = torch.full((num,), facts.prompts.index(prompt))
    assert facts.grid is not None  # every published model was fine-tuned
    count = num_evaluations or len(facts.grid) - 1
    return compose(TwoTimeMap(network), noise, chosen, grid_for(count, facts.grid))


def save_samples(samples: Tensor, path: Path) -> None:
    """Write `.npz`, one array `samples` of shape (N, *data), or `.png`, a contact sheet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        np.savez(path, samples=samples.numpy())
        return
    num_columns = min(8, len(samples))
    scale = max(1, _SHEET_PX // (num_columns * samples.shape[-1]))
    path.write_bytes(contact_sheet(samples, num_columns, scale))


def _noise(shape: tuple[int, ...], seed: int, index: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(derived_seed(seed, "sample", index)))
