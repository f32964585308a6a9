"""MeanFlow's target and the map's health."""

import torch
from torch import Tensor, nn

from flowmap.maps import Condition, TwoTimeMap
from flowmap.maps.health import PairHealth, map_health, unhealthy
from flowmap.maps.objectives import draw_times, flow_matching_loss, mean_flow_loss, mean_flow_target
from flowmap.models.modulated_mlp import ModulatedMLP
from tests.analytic import GaussianMap


def random_network() -> ModulatedMLP:
    """A small network in float64 with no layer left at its initial zero."""
    torch.manual_seed(0)
    network = ModulatedMLP((1, 2, 3), num_prompts=4, width=16, depth=2, max_frequency=3.0).double()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network


def test_the_tangent_agrees_with_finite_differences() -> None:
    network = random_network()
    z, velocity = torch.randn(2, 8, 1, 2, 3, dtype=torch.float64)
    t, r = torch.linspace(0.5, 0.9, 8).double(), torch.linspace(0.1, 0.5, 8).double()
    condition = {"prompt": torch.arange(8) % 4}
    step = 1e-5
    ahead = network(z + step * velocity, t + step, r, condition)
    behind = network(z - step * velocity, t - step, r, condition)
    expected = velocity - (t - r).view(-1, 1, 1, 1) * (ahead - behind) / (2 * step)
    found = mean_flow_target(network, z, velocity, t, r, condition)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
    assert not found.requires_grad


def test_where_the_times_are_equal_the_target_is_the_velocity() -> None:
    network, t = random_network(), torch.rand(5).double()
    z, velocity = torch.randn(2, 5, 1, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(
        mean_flow_target(network, z, velocity, t, t, {"prompt": torch.zeros(5).long()}), velocity
    )


def test_times_are_ordered_and_the_asked_for_share_is_equal() -> None:
    t, r = draw_times(20_000, 0.25, torch.Generator().manual_seed(1))
    assert bool((r <= t).all())
    assert bool((t < 1).all())
    assert bool((r > 0).all())
    assert abs(float((t == r).float().mean()) - 0.25) < 0.02
    t, r = draw_times(20_000, 0.25, torch.Generator().manual_seed(1), start_times=0.05)
    assert int((t == 1).sum()) == 1000
    assert bool((r < 1).all())


def test_both_losses_go_down_on_a_few_images() -> None:
    torch.manual_seed(0)
    x, condition = torch.rand(16, 1, 2, 3) * 2 - 1, {"prompt": torch.arange(16) % 4}
    for name in ("map", "velocity"):
        network = ModulatedMLP((1, 2, 3), num_prompts=4, width=32, depth=2, max_frequency=3.0)
        optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
        generator = torch.Generator().manual_seed(2)
        errors = []
        for _ in range(150):
            if name == "map":
                loss, metrics = mean_flow_loss(network, x, condition, generator=generator)
            else:
                loss, metrics = flow_matching_loss(
                    TwoTimeMap(network).velocity, x, condition, generator=generator
                )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            errors.append(metrics["error"])
        assert sum(errors[-20:]) < 0.8 * sum(errors[:20]), name


def test_an_exact_map_is_healthy() -> None:
    flow_map = GaussianMap()
    x = flow_map.draw(200, 3, 0.0, torch.Generator().manual_seed(3))
    rows = map_health(flow_map, x, {}, torch.Generator().manual_seed(4))
    assert len(rows) == 15
    assert max(row.gap for row in rows) < 1e-5
    assert unhealthy(rows, max_speed_ratio=2.0, max_gap=0.5) == []


def test_a_map_with_a_hole_is_named_at_that_pair() -> None:
    exact = GaussianMap()

    def network(x: Tensor, t: Tensor, r: Tensor, condition: Condition) -> Tensor:
        average = (x - exact.transport(x, t, r, condition)) / (t - r).clamp(min=1e-9)[:, None]
        velocity = exact.velocity(x, t, condition)
        hole = ((t == 0.5) & (r == 0.25)).float()[:, None]
        return torch.where((t == r)[:, None], velocity, average * (1 + 5 * hole))

    x = exact.draw(100, 3, 0.0, torch.Generator().manual_seed(5))
    rows = map_health(TwoTimeMap(network), x, {}, torch.Generator().manual_seed(6))
    assert (0.5, 0.25) in [(row.t, row.r) for row in unhealthy(rows, max_speed_ratio=2.0, max_gap=0.5)]


def test_nan_is_unhealthy() -> None:
    row = PairHealth(1.0, 0.5, speed=1.0, gap=float("nan"))
    assert unhealthy([row], max_speed_ratio=2.0, max_gap=0.5) == [row]
