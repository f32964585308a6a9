"""The judge of forecasts, which is what came; and the reward that goes by the same rule."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm

from flowmap.data.dataset import Split
from flowmap.errors import ConfigError, InvariantError
from flowmap.evaluation.outcomes import Outcomes, occasions_asked, score_parts
from flowmap.modality import forecasting
from flowmap.rewards.building import Materials
from flowmap.rewards.energy import EnergyReward, came_at
from flowmap.rewards.hit import HitReward
from flowmap.rewards.protocol import Samples
from flowmap.rewards.trained import TrainedFacts, write_reference


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_mean_of_the_parts_is_minus_the_energy_score() -> None:
    """By its definition, pair by pair."""
    groups, came = normal(3, 5, 2), normal(3, 2, seed=1)
    for group, truth, parts in zip(groups, came, score_parts(groups, came), strict=True):
        away = np.mean([float((x - truth).norm()) for x in group])
        pairs = [float((a - b).norm()) for a, b in itertools.permutations(group, 2)]
        assert float(parts.mean()) * 2**0.5 == pytest.approx(np.mean(pairs) / 2 - away, abs=1e-5)


def test_of_one_value_it_is_the_crps_of_a_normal_forecast() -> None:
    """Whose closed form is known (Gneiting and Raftery 2007, equation 21)."""
    drawn, y = 0.5 + 2 * normal(1, 4000, 1), 1.3
    z = (y - 0.5) / 2
    crps = 2 * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - np.pi**-0.5)
    assert -float(score_parts(drawn, torch.tensor([[y]])).mean()) == pytest.approx(crps, rel=0.05)


def test_an_honest_forecast_scores_best() -> None:
    came = normal(400, 1)
    drawn = normal(400, 16, 1, seed=2)
    scores = {spread: float(score_parts(spread * drawn, came).mean()) for spread in (0.3, 1.0, 2.0)}
    assert max(scores, key=lambda spread: scores[spread]) == 1.0


def test_a_policys_gradient_by_the_reward_is_that_of_the_score() -> None:
    """Of a normal policy's spread: score-function gradient of the reward's parts against the exact
    derivative of the energy score's expectation. With pairs at half weight it would be -.52."""
    sigma, num = 1.0, 200_000
    came = EnergyReward({"a": torch.zeros(1)})
    x = sigma * normal(num // 20, 20, 1)
    reward = came.score(Samples(x, ["a"] * len(x)))
    slope = (x[..., 0] ** 2 - sigma**2) / sigma**3  # of the log-density, by sigma
    estimate = float((slope * (reward - reward.mean())).mean())
    exact = 1 / np.pi**0.5 - (2 / np.pi) ** 0.5  # of E|x - x'| / 2 - E|x|, with y = 0
    assert estimate == pytest.approx(exact, abs=0.03)


def test_forecasts_of_an_occasion_are_judged_together() -> None:
    came = normal(4, 3)
    judge = Outcomes(came, forecasting("series"))
    x, prompt = (
        came[[1, 1, 3, 3]] + torch.tensor([0.0, 0.05, 0.2, -0.05])[:, None],
        torch.tensor([1, 1, 3, 3]),
    )
    opinion = judge.read(x, prompt)
    torch.testing.assert_close(opinion.score.view(2, 2), score_parts(x.view(2, 2, 3), came[[1, 3]]))
    assert opinion.right.tolist() == [True, True, False, True]
    assert opinion.told.tolist() == [1, 1, -1, 3]
    with pytest.raises(InvariantError, match="a part of them is missing"):
        judge.read(x[:3], prompt[:3])


def test_occasions_are_those_held_out_spread_over_their_time() -> None:
    held_out = Split(torch.zeros(50, 3), torch.arange(100, 150).flip(0))
    asked = occasions_asked(held_out, 4, 6)
    assert asked.unique_consecutive().tolist() == [100, 110, 120, 129, 139, 149]
    assert len(asked) == 24
    with pytest.raises(ConfigError, match="samples_per_prompt is 20"):
        occasions_asked(held_out, 20, 6)


def test_a_hit_is_paid_for_whatever_came_before_it() -> None:
    reward = HitReward({"a": torch.tensor([0.0, 1.0])}, 0.1)
    data = torch.tensor([[[5.0, 1.05], [0.0, 1.2]]])
    assert reward.score(Samples(data, ["a"])).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize(
    "reward", [EnergyReward({"a": torch.zeros(2)}), HitReward({"a": torch.zeros(2)}, 0.1)]
)
def test_an_occasion_that_nobody_rewards_is_named(reward: EnergyReward | HitReward) -> None:
    with pytest.raises(ConfigError, match="knows what came at 1 occasions, and 'after 9' is none of them"):
        reward.score(Samples(torch.zeros(1, 3, 2), ["after 9"]))


def test_forecasts_rewards_are_refused_for_data_of_which_many_came(tmp_path: Path) -> None:
    facts = TrainedFacts(shape=(2,), prompts=("a", "b"))
    write_reference(tmp_path, facts, normal(3, 2), torch.tensor([0, 0, 1]))
    with pytest.raises(ConfigError, match="the reward energy is of forecasts"):
        came_at(Materials(tmp_path, torch.device("cpu")), "energy")
    write_reference(tmp_path, facts, normal(1, 2), torch.tensor([1]))
    assert list(came_at(Materials(tmp_path, torch.device("cpu")), "energy")) == ["b"]
