"""Sampling from a registered model.

    drawn = draw_samples(store, version, prompt="3", num=16, num_evaluations=4, seed=0)
    drawn.samples                                           # (16, 1, 8, 8)

The same seed gives the same samples, on the grid that was trained where the number of evaluations is that
grid's.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowmap.artifacts.store import ObjectStore
from flowmap.artifacts.transfer import artifact_files, fetch_artifact
from flowmap.data.prompts import normal_prompt
from flowmap.errors import ConfigError
from flowmap.evaluation.drawing import at_once
from flowmap.evaluation.entrants import policy_of
from flowmap.maps import compose, grid_for
from flowmap.maps.condition import repeat
from flowmap.modality import pictures
from flowmap.models import ModelFacts, parts_among
from flowmap.models.storing import AS_TUNED, MODEL, load_model, read_model_facts, shipped_weights
from flowmap.registry import Registry, Rejection, UnknownModelError, Version
from flowmap.seeding import generator_for
from flowmap.training.devices import device
from flowmap.training.memory import full_memory_told, in_halves

_SHEET_PX = 640


@dataclass(frozen=True)
class Drawn:
    """Samples (N, *data), and what kind of data they are."""

    samples: Tensor
    modality: str


def draw_samples(
    store: ObjectStore,
    version: Version | Rejection,
    *,
    prompt: str,
    num: int,
    num_evaluations: int | None,
    seed: int,
) -> Drawn:
    """Samples of a prompt, shape (num, *data); sample i of a seed is the same whatever `num` is.

    `num_evaluations` of None is as many as the model was trained for.

    Raises:
        ConfigError: the model does not know the prompt; the message lists those it knows.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        copy_model(store, version, folder)
        facts, model = read_model_facts(folder), load_model(folder, shipped_weights(folder), device())
    prompt = normal_prompt(prompt)
    try:
        told = model.condition([prompt])
    except ConfigError as error:
        raise ConfigError(f"{version.name}: {error}") from None
    own = grid_of(version, facts)
    grid = grid_for(num_evaluations or len(own) - 1, own, model.shift)
    policy, shape = policy_of(facts) if grid == own else None, model.codec.state_shape
    window = () if policy is None else policy.window

    @torch.no_grad()
    def data(noise: Tensor) -> Tensor:
        """From (batch, 1 + window, *state): the start, and what transitions draw by."""
        noise, condition = noise.to(model.device), repeat(told, len(noise))
        if policy is None:
            state = compose(model.flow_map, noise[:, 0], condition, grid)
        else:
            state = policy.draw(model.flow_map, noise, condition, grid)
        return model.codec.decode(state).cpu()

    parts = []
    with full_memory_told("sample", "one picture was tried: the model wants a larger device"):
        for indices in torch.arange(num).split(at_once(shape)):
            drawn = [[_noise(shape, seed, i, *of) for of in ((), *zip(window))] for i in indices.tolist()]
            parts.append(in_halves(data, torch.stack([torch.stack(each) for each in drawn])))
    return Drawn(torch.cat(parts), facts.modality)


def grid_of(version: Version | Rejection, facts: ModelFacts) -> tuple[float, ...]:
    """The times that a model is drawn at."""
    own = facts.grid if isinstance(version, Rejection) else facts.grid or version.grid
    assert own is not None  # a tuned model has its own; a base's version names the one of its figures
    return own


def save_samples(drawn: Drawn, path: Path) -> None:
    """Write `.npz`, one array `samples` of shape (N, *data), or `.png`, a contact sheet."""
    samples = drawn.samples
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        np.savez(path, samples=samples.numpy())
        return
    num_columns = min(8, len(samples))
    shown = pictures(drawn.modality)
    scale = shown.sheet_scale(samples.shape[1:], _SHEET_PX, num_columns)
    path.write_bytes(shown.contact_sheet(samples, num_columns, scale))


def copy_model(store: ObjectStore, version: Version | Rejection, folder: Path) -> None:
    """A version's files, or those of a candidate that never became one, as its training left them."""
    if isinstance(version, Version):
        Registry(store, version.name).download(version, folder)
        return
    try:
        files = artifact_files(store, version.candidate)
        fetch_artifact(
            store, version.candidate, folder, (f"{AS_TUNED}.safetensors", MODEL, *parts_among(files))
        )
    except KeyError:
        raise UnknownModelError(
            f"{version.name}: the candidate that was rejected is not in the store any more"
        ) from None


def _noise(shape: tuple[int, ...], seed: int, index: int, *transition: int) -> Tensor:
    """Of one sample: its start's, or that of one of its transitions."""
    return torch.randn(shape, generator=generator_for(seed, "sample", index, *transition))
