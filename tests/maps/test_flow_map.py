"""Maps of networks that know one time only, and of those that know two."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from flowmap.asfmc import EndpointAnchor
from flowmap.maps import Condition, OneTimeMap, TwoTimeMap, compose, euler, heun
from tests.analytic import GaussianMap

EXACT = GaussianMap()


def velocity(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
    return EXACT.velocity(x, t, condition)


def straight_endpoint(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
    """Where the velocity leads at once: what a turbo model is trained to say."""
    return x - t[:, None] * EXACT.velocity(x, t, condition)


MAPS = {
    "velocity": OneTimeMap(velocity, "velocity"),
    "endpoint": OneTimeMap(straight_endpoint, "endpoint"),
}


def states(num: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    x = torch.randn(num, 3, generator=torch.Generator().manual_seed(0))
    t = torch.linspace(0.4, 1.0, num)
    return x, t, t / 2


def test_velocity_and_endpoint_say_the_same() -> None:
    (x, t, r), one, other = (
        states(),
        OneTimeMap(velocity, "velocity"),
        OneTimeMap(straight_endpoint, "endpoint"),
    )
    torch.testing.assert_close(one.endpoint(x, t, {}), other.endpoint(x, t, {}))
    torch.testing.assert_close(one.velocity(x, t, {}), other.velocity(x, t, {}))
    torch.testing.assert_close(one.transport(x, t, r, {}), other.transport(x, t, r, {}))


@pytest.mark.parametrize("predicts", ["velocity", "endpoint"])
def test_a_straight_step_keeps_the_endpoint(predicts: str) -> None:
    flow_map = (
        OneTimeMap(velocity, "velocity")
        if predicts == "velocity"
        else OneTimeMap(straight_endpoint, "endpoint")
    )
    x, t, r = states()
    there = flow_map.transport(x, t, r, {})
    noise = x + (1 - t)[:, None] * flow_map.velocity(x, t, {})
    torch.testing.assert_close(there, flow_map.path.sample(flow_map.endpoint(x, t, {}), noise, r).x_t)
    torch.testing.assert_close(flow_map.transport(x, t, t * 0, {}), flow_map.endpoint(x, t, {}))


def test_composing_a_velocity_is_eulers_method() -> None:
    noise = torch.randn(200, 3, generator=torch.Generator().manual_seed(1))
    grid = tuple(1 - step / 50 for step in range(51))
    flow_map = OneTimeMap(velocity, "velocity")
    torch.testing.assert_close(compose(flow_map, noise, {}, grid), euler(flow_map, noise, {}, 50))
    exact = EXACT.endpoint(noise, torch.ones(200), {})
    assert float((euler(flow_map, noise, {}, 200) - exact).abs().max()) < 0.05


def test_heuns_method_is_of_second_order() -> None:
    """Twice the evaluations leave a quarter of the error, of Euler's a half; a step takes two."""
    flow_map, noise = TwoTimeMap(_decaying), torch.tensor([[1.0], [-2.0]])
    exact = noise * math.exp(-1)

    def error(solver: Callable[..., Tensor], num: int) -> float:
        return float((solver(flow_map, noise, {}, num) - exact).abs().max())

    assert error(heun, 32) / error(heun, 64) == pytest.approx(4, rel=0.1)
    assert error(euler, 32) / error(euler, 64) == pytest.approx(2, rel=0.1)
    assert error(heun, 64) < error(euler, 64) / 20


def _decaying(x: Tensor, t: Tensor, r: Tensor, condition: Condition) -> Tensor:
    """The velocity of dx/dt = x."""
    return x


def test_a_one_time_map_takes_the_endpoint_anchor() -> None:
    x, t, r = states()
    step = EndpointAnchor().step(OneTimeMap(straight_endpoint, "endpoint"), x, t, r, {})
    torch.testing.assert_close(step.mean, (1 - r)[:, None] * straight_endpoint(x, t, {}))
    torch.testing.assert_close(step.std, r)


def test_a_path_sample_lies_on_the_line_between_data_and_noise() -> None:
    x_0, noise = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(2))
    flow_map = TwoTimeMap(lambda x, t, r, condition: x)
    t = torch.tensor([0.0, 0.3, 0.6, 1.0])
    on_path = flow_map.path.sample(x_0, noise, t)
    torch.testing.assert_close(on_path.x_t - t[:, None] * on_path.velocity, x_0)
    torch.testing.assert_close(on_path.x_t[3], noise[3])
