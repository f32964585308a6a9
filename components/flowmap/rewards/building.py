"""Rewards by their settings: the module of each kind is imported only where that kind is asked for.

    weighted = build_rewards(section.rewards, Materials(trained=directory, device=device))

So a step depends on the files of its own rewards only; `flowmap.rewards.sources` names them for its code
version.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from flowmap.rewards.protocol import Reward, Weighted
from flowmap.rewards.sources import module_of
from flowmap.settings import AnyReward


@dataclass(frozen=True)
class Materials:
    """What rewards may be built from.

    Attributes:
        trained: the artifact of reward_training.
        device: where they score.
    """

    trained: Path
    device: torch.device


def build_rewards(settings: Iterable[AnyReward], materials: Materials) -> list[Weighted]:
    """Each reward with its weight. Raises ConfigError for one that can't be built here."""
    return [Weighted(_build(each, materials), each.weight) for each in settings]


def _build(settings: AnyReward, materials: Materials) -> Reward:
    built: Reward = importlib.import_module(module_of(settings)).build(settings, materials)
    return built
