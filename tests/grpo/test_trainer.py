"""The trainer itself, as a library: it climbs a reward, keeps its laws, and depends on no division of its
work."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from flowmap.asfmc import roll_out
from flowmap.errors import ConfigError, InvariantError, RewardError
from flowmap.grpo.trainer import Grpo
from flowmap.maps import Condition, TwoTimeMap
from flowmap.models import MlpFacts
from flowmap.models.model import Model
from flowmap.rewards import Samples, Weighted
from flowmap.rewards.protocol import FunctionReward, Prompt
from flowmap.settings import GrpoSettings
from flowmap.training.engine import TorchEngine

SHAPE, PROMPTS = (1, 4, 4), ("a", "b")
SETTINGS: dict[str, Any] = {
    "groups": 4,
    "group_size": 8,
    "grid": (1.0, 0.5, 0.05, 0.0),
    "kernel": "exact_local",
    "composed": False,
    "window": None,
    "shared_start": True,
    "advantage_std": "group",
    "learning_rate": 1e-2,
    "kl_target": None,
    "kl_weight": 0.0,
}


def untrained() -> Model:
    """A map that has learnt nothing."""
    torch.manual_seed(0)
    return MlpFacts(shape=SHAPE, prompts=PROMPTS, width=32, depth=2, max_frequency=3.0).build()


def brightness(samples: Samples) -> Tensor:
    """Mean pixel of each sample: a reward that anything can climb."""
    return samples.data.flatten(2).mean(2)


def grpo(*rewards: Callable[[Samples], Any], model: Model | None = None, **settings: Any) -> Grpo:
    return Grpo(
        model or untrained(), rewards or [brightness], PROMPTS, GrpoSettings(**{**SETTINGS, **settings})
    )


def test_a_trivial_reward_rises_within_ten_updates() -> None:
    trainer = grpo()
    noise = torch.randn(400, *SHAPE, generator=torch.Generator().manual_seed(1))

    def mean_brightness() -> float:
        return float(trainer.model.sample(["a", "b"] * 200, noise, trainer.settings.grid).mean())

    before = mean_brightness()
    for index in range(5):  # of two updates each
        trainer.rollout(index)
    assert mean_brightness() > before + 0.05


def test_members_of_a_group_start_alike_and_part_in_the_transitions() -> None:
    noise = grpo()._noise(index=3, group=1)
    assert noise.shape == (3, 8, *SHAPE)
    assert bool((noise[0] == noise[0, :1]).all())
    assert noise[1:].flatten(2).unique(dim=1).shape[1] == 8


def test_members_may_have_starts_of_their_own() -> None:
    noise = grpo(shared_start=False)._noise(index=3, group=1)
    assert noise[0].flatten(1).unique(dim=0).shape[0] == 8


@pytest.mark.parametrize("kernel", ["endpoint", "local", "exact_local"])
@pytest.mark.parametrize("composed", [False, True])
def test_only_the_window_is_stochastic_trained_and_held(kernel: str, *, composed: bool) -> None:
    trainer = grpo(kernel=kernel, composed=composed, window=(0,), kl_target=0.3, kl_weight=0.5)
    figures = trainer.rollout(0)
    assert {name for name in figures if name.startswith("kl_")} == {"kl_0", "kl_weight_0"}
    members = trainer.model.condition(["a"] * 8)
    drawn = roll_out(
        trainer.model.flow_map,
        trainer.kernel,
        members,
        (1.0, 0.5, 0.05, 0.0),
        torch.randn(3, 8, *SHAPE),
        (0,),
    )
    (transition,) = drawn.transitions
    rest = trainer.model.flow_map.transport(
        transition.x_r, torch.full((8,), 0.5), torch.full((8,), 0.05), members
    )
    torch.testing.assert_close(
        drawn.x_0, trainer.model.flow_map.endpoint(rest, torch.full((8,), 0.05), members)
    )


def test_each_transitions_kl_has_a_weight_of_its_own_and_it_is_kept() -> None:
    trainer = grpo(kl_target=0.3, kl_weight=0.5)
    for index in range(3):
        figures = trainer.rollout(index)
    weights = {figures[f"kl_weight_{each}"] for each in (0, 1)}
    assert len(weights) == 2
    again = grpo(kl_target=0.3, kl_weight=0.5)
    again.load(trainer.state())
    assert {controller.weight for controller in again.controllers.values()} == weights


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"window": (2,)}, r"window \[2\] must name intervals of grid .* from 0 to 1"),
        ({"window": ()}, r"window \[\] must name intervals"),
        ({"window": (1, 0)}, r"window \[1, 0\] must rise"),
    ],
)
def test_a_window_outside_the_grid_is_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        GrpoSettings(**SETTINGS | settings)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda u: u + 1e-4, "before the first update the ratio is off 1 by"),
        (lambda u: u * float("nan"), "the loss is nan"),
    ],
)
def test_a_broken_law_stops_the_run(change: Callable[[Tensor], Tensor], told: str) -> None:
    trainer = grpo()

    def network(x: Tensor, t: Tensor, r: Tensor, condition: Condition) -> Tensor:
        return change(trainer.engine.module(x, t, r, condition))

    trainer.policy = TwoTimeMap(network)
    with pytest.raises(InvariantError, match=told):
        trainer.rollout(0)


def test_a_reward_that_does_not_vary_changes_nothing_but_the_count() -> None:
    trainer = grpo(lambda samples: torch.ones(samples.data.shape[:2]))
    before = {name: value.clone() for name, value in trainer.model.network.state_dict().items()}
    trainer.rollout(0)
    figures = trainer.rollout(1)
    assert figures["zero_std_fraction"] == 1
    decay = 1 - 2 * 2 * SETTINGS["learning_rate"] * 1e-4  # AdamW's weight decay alone, over four updates
    for name, value in trainer.model.network.state_dict().items():
        torch.testing.assert_close(value, before[name] * decay if name != "frequencies" else before[name])


def gradients(trainer: Grpo) -> list[Tensor]:
    """What one rollout would add to the weights, before the optimizer makes a step of it."""
    taken: list[Tensor] = []
    parameters = list(trainer.model.parameters())

    def keep(*_: Any, **__: Any) -> None:
        taken.extend(parameter.grad.clone() for parameter in parameters if parameter.grad is not None)

    engine = trainer.engine
    assert isinstance(engine, TorchEngine)
    engine._optimizer.step = keep
    trainer.rollout(0)
    return taken


@pytest.mark.parametrize("micro_batch", [1, 5, 8, 31, 32, 1000])
def test_any_division_into_micro_batches_gives_the_same_update(
    micro_batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the gradient is clipped, which would hide a wrong scale."""
    monkeypatch.setattr("flowmap.training.engine._CLIP_NORM", 1e9)
    common: dict[str, Any] = {"updates_per_rollout": 1, "kl_weight": 0.5}
    whole = gradients(grpo(brightness, **common))
    divided = gradients(grpo(brightness, **common, micro_batch=micro_batch))
    assert sum(float(gradient.abs().sum()) for gradient in whole) > 0.1
    for one, other in zip(whole, divided, strict=True):
        torch.testing.assert_close(other, one, atol=1e-6, rtol=1e-5)


def test_a_reward_sees_data_prompts_and_their_facts() -> None:
    seen: list[Samples] = []

    def look(samples: Samples) -> Tensor:
        seen.append(samples)
        return brightness(samples)

    prompts = [Prompt("a", {"colour": "red"}), Prompt("b")]
    Grpo(untrained(), [look], prompts, GrpoSettings(**SETTINGS | {"groups": 16})).rollout(0)
    (samples,) = seen
    assert samples.data.shape == (16, 8, *SHAPE)
    assert not samples.data.requires_grad
    told = dict(zip(samples.prompts, samples.facts, strict=True))
    assert told == {prompt.text: prompt.facts for prompt in prompts}


def test_samples_without_a_verdict_leave_their_groups_and_are_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def picky(samples: Samples) -> Tensor:
        scores = brightness(samples)
        scores[:, 0] = torch.nan
        return scores

    figures = grpo(brightness, picky).rollout(0)
    assert figures["unscored"] == 1 / 8
    assert figures["reward_picky"] == pytest.approx(figures["reward_brightness"], abs=0.5)
    assert "rollout 1: 4 of 32 samples have no verdict (picky 4); they leave" in capsys.readouterr().err
    with pytest.raises(
        RewardError, match=r"4 of 32 samples have no verdict \(picky 4\); grpo_finetuning.max_unscored"
    ):
        grpo(brightness, picky, max_unscored=0.1).rollout(0)


def test_every_rewards_mean_spread_and_correlation_is_told() -> None:
    def darkness(samples: Samples) -> Tensor:
        return -2 * brightness(samples)

    trainer = grpo()
    trainer.rewards = [Weighted(FunctionReward(brightness), 3.0), Weighted(FunctionReward(darkness), 1.0)]
    figures = trainer.rollout(0)
    assert figures["reward_darkness"] == pytest.approx(-2 * figures["reward_brightness"], rel=1e-4)
    assert figures["spread_darkness"] == pytest.approx(2 * figures["spread_brightness"], rel=1e-4)
    assert figures["correlation_brightness"] > 0.5
    assert figures["correlation_darkness"] == pytest.approx(-figures["correlation_brightness"], abs=1e-4)


def test_a_reward_of_another_shape_is_named() -> None:
    with pytest.raises(InvariantError, match=r"reward <lambda> gave shape \(4,\) for \(4, 8\) samples"):
        grpo(lambda samples: torch.zeros(4)).rollout(0)


def test_a_prompt_that_the_model_does_not_know_is_named() -> None:
    with pytest.raises(ConfigError, match="prompt 'c': the model knows a, b"):
        Grpo(untrained(), [brightness], ["a", "c"])
