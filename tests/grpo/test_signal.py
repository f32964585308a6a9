"""The signal of a transition: a reward that it decides has one, and chance has none."""

from typing import Any

import pytest
import torch
from torch import Tensor

from flowmap.errors import ConfigError
from flowmap.grpo.signal import TransitionSignal, transition_signals, worth_training
from flowmap.grpo.trainer import Grpo
from flowmap.rewards import Samples
from flowmap.settings import GrpoSettings
from tests.grpo.test_trainer import PROMPTS, brightness, untrained

SETTINGS: dict[str, Any] = {
    "groups": 8,
    "group_size": 16,
    "grid": (1.0, 0.5, 0.05, 0.0),
    "window": None,
    "kernel": "exact_local",
    "composed": False,
}


def signals(reward: Any, num_rollouts: int = 12, **settings: Any) -> list[TransitionSignal]:
    return transition_signals(
        Grpo(untrained(), [reward], PROMPTS, GrpoSettings(**{**SETTINGS, **settings})), num_rollouts
    )


def test_a_reward_that_every_sample_shows_is_signal_and_less_of_it_where_there_is_less_noise() -> None:
    found = signals(brightness)
    assert [(each.index, each.t, each.r) for each in found] == [
        (0, 1.0, 0.5),
        (1, 0.5, pytest.approx(0.05)),
    ]
    early, late = found
    assert early.cosine > 3 * early.error
    assert late.std < early.std
    assert late.cosine < early.cosine
    assert 0 in worth_training(found)


def test_chance_is_no_signal() -> None:
    generator = torch.Generator().manual_seed(0)

    def chance(samples: Samples) -> Tensor:
        return torch.rand(samples.data.shape[:2], generator=generator)

    for each in signals(chance):
        assert abs(each.cosine) < 4 * each.error + 0.05


def test_nothing_is_trained() -> None:
    model = untrained()
    before = [parameter.clone() for parameter in model.network.parameters()]
    transition_signals(Grpo(model, [brightness], PROMPTS, GrpoSettings(**SETTINGS)), 2)
    assert all(torch.equal(a, b) for a, b in zip(before, model.network.parameters(), strict=True))


def test_what_is_within_chance_or_far_behind_the_best_is_not_worth_training() -> None:
    def signal(index: int, cosine: float, error: float) -> TransitionSignal:
        return TransitionSignal(index, 1.0, 0.5, 0.5, cosine, error, 1.0)

    assert worth_training([signal(0, 0.6, 0.05), signal(1, 0.4, 0.05), signal(2, 0.1, 0.01)]) == (0, 1)
    assert worth_training([signal(0, 0.1, 0.2), signal(1, 0.09, 0.2)]) == (0,)


def test_one_group_or_one_rollout_can_not_be_halved() -> None:
    with pytest.raises(ConfigError, match="at least two groups and two rollouts"):
        signals(brightness, groups=1)
    with pytest.raises(ConfigError, match="at least two groups and two rollouts"):
        signals(brightness, num_rollouts=1)
