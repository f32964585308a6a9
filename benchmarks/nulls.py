"""Candidates that have learnt nothing: what the gate should not promote."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from flowmap import Grpo
from flowmap.models.model import Model, PromptTable
from flowmap.rewards.protocol import Samples
from flowmap.settings import GrpoSettings

_SHAKEN = 0.01  # of a weight's size
_ROLLOUTS = 3
_LESS_NOISE = 0.97


@dataclass(frozen=True)
class Player:
    """A model, and how much of its start noise it takes."""

    model: Model
    scale: float = 1.0


def less_noise(player: Player, seed: int) -> Player:
    """With start noise that is 3 % smaller."""
    return Player(player.model, _LESS_NOISE * player.scale)


@torch.no_grad()
def shaken(player: Player, seed: int) -> Player:
    """With noise on its weights, of a hundredth of their spread."""
    model, generator = _copied(player.model), torch.Generator().manual_seed(seed)
    for each in model.network.parameters():
        each.add_(torch.randn(each.shape, generator=generator) * each.std(correction=0) * _SHAKEN)
    return Player(model, player.scale)


def trained_on_chance(player: Player, seed: int) -> Player:
    return Player(_on_chance(player.model, seed)[0], player.scale)


def averaged(player: Player, seed: int) -> Player:
    """With the average of the weights of a training on chance."""
    return Player(_on_chance(player.model, seed)[1], player.scale)


NULLS = {
    "less start noise": less_noise,
    "weights shaken": shaken,
    "trained on chance": trained_on_chance,
    "its average": averaged,
}


def _copied(model: Model) -> Model:
    same = copy.copy(model)
    same.network = copy.deepcopy(model.network)
    return same


def _on_chance(model: Model, seed: int) -> tuple[Model, Model]:
    """A model trained on for a few rollouts, the reward being drawn: its weights, and their average."""
    trained, average = _copied(model), _copied(model)
    trained.network.requires_grad_(True)
    generator = torch.Generator().manual_seed(seed)

    def chance(samples: Samples) -> Tensor:
        return torch.rand(samples.data.shape[:2], generator=generator)

    grid = (1.0, 0.75, 0.5, 0.25, 0.0)
    settings = GrpoSettings(grid=grid, window=(0,), seed=seed, groups=8, group_size=8)
    assert isinstance(trained.conditioner, PromptTable)
    grpo = Grpo(trained, [chance], trained.conditioner.prompts, settings)
    for index in range(_ROLLOUTS):
        grpo.rollout(index)
    average.network = grpo.ema.network_of(grpo.model.network)
    for each in (trained, average):
        each.network.eval().requires_grad_(False)
    return trained, average
