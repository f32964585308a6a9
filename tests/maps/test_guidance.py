"""Classifier-free guidance, and a map that is taught it."""

import pytest
import torch
from torch import Tensor

from flowmap.maps import (
    Condition,
    OneTimeMap,
    TwoTimeMap,
    euler,
    mean_flow_loss,
    over_data,
)
from flowmap.maps.guidance import guided, pull
from tests.analytic import GaussianMap

NOTHING = {
    "mean": torch.tensor([0.5])
}  # what a half of data at 2 and one at -1 are like, but for their spread


def velocity(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
    """Of data N(condition, .4^2): a Gaussian map that is shifted along its path."""
    mean = condition["mean"].to(x.dtype)
    at = over_data((1 - t) * mean, x)
    return GaussianMap(mean=0.0).velocity(x - at, t, {}) - over_data(mean, x)


@pytest.fixture
def drawn() -> tuple[Tensor, Tensor, Condition]:
    generator = torch.Generator().manual_seed(1)
    means = torch.tensor([2.0, -1.0]).repeat(32)
    return (
        torch.randn(64, 3, generator=generator),
        torch.rand(64, generator=generator),
        {"mean": means},
    )


def test_it_goes_from_no_prompt_through_the_prompt_and_on(drawn: tuple[Tensor, Tensor, Condition]) -> None:
    x, t, condition = drawn
    told, untold = velocity(x, t, condition), velocity(x, t, {"mean": NOTHING["mean"].expand(64)})
    torch.testing.assert_close(guided(velocity, NOTHING, 0.0)(x, t, condition), untold)
    torch.testing.assert_close(guided(velocity, NOTHING, 1.0)(x, t, condition), told)
    torch.testing.assert_close(guided(velocity, NOTHING, 4.0)(x, t, condition), 4 * told - 3 * untold)
    torch.testing.assert_close(pull(velocity, NOTHING)(x, t, condition), told - untold)
    nowhere = pull(velocity, NOTHING)(x, t, {"mean": NOTHING["mean"].expand(64)})
    assert not nowhere.any()


def test_samples_end_further_from_what_all_have_in_common(drawn: tuple[Tensor, Tensor, Condition]) -> None:
    x, _, condition = drawn
    flow_map = OneTimeMap(guided(velocity, NOTHING, 3.0), "velocity")
    plain = euler(OneTimeMap(velocity, "velocity"), x, condition, 50)
    found = euler(flow_map, x, condition, 50)
    for mean in (2.0, -1.0):
        of = condition["mean"] == mean
        torch.testing.assert_close(plain[of].mean(), torch.tensor(mean), atol=0.1, rtol=0)
        assert (found[of].mean() - 0.5) / (mean - 0.5) > 1.5


def test_what_a_teacher_says_makes_the_guided_velocity_the_one_to_learn() -> None:
    """The map that is right under guidance errs by what the data's own spread is, as the plain one does."""
    means = torch.tensor([2.0, -1.0]).repeat(512)
    generator = torch.Generator().manual_seed(1)
    x = means[:, None] + 0.4 * torch.randn(1024, 3, generator=generator)
    condition = {"mean": means}
    right, scale = guided(velocity, NOTHING, 3.0), 3.0
    towards = pull(velocity, NOTHING)

    def sharpened(velocity: Tensor, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return velocity + (scale - 1) * towards(x, t, condition)

    def error(network: TwoTimeMap, taught: bool) -> float:
        _, measured = mean_flow_loss(
            network.network,
            x,
            condition,
            generator=torch.Generator().manual_seed(2),
            equal_times=1.0,
            taught=sharpened if taught else None,
        )
        return float(measured["error"])

    plain = TwoTimeMap(lambda x, t, r, condition: velocity(x, t, condition))
    sharp = TwoTimeMap(lambda x, t, r, condition: right(x, t, condition))
    assert error(sharp, taught=True) == pytest.approx(error(plain, taught=False), rel=1e-4)
    assert error(plain, taught=True) > 2 * error(plain, taught=False)
