"""Kernels on data whose marginals are known: what a rollout may and may not do to the distribution."""

import math

import pytest
import torch
from torch import Tensor

from flowmap.asfmc import EndpointAnchor, ExactLocalAnchor, GaussianStep, Kernel, LocalAnchor, roll_out
from flowmap.maps import RectifiedFlow
from flowmap.maps.path import AffinePath
from tests.analytic import GaussianMap, TrigFlow

NUM, NUM_DIMS = 100_000, 4
TIMES = [(1.0, 0.683), (0.683, 0.367), (0.367, 0.05), (1.0, 0.95)]
PATHS: list[AffinePath] = [RectifiedFlow(), TrigFlow()]
EXACT: list[Kernel] = [
    EndpointAnchor(),
    ExactLocalAnchor(0.05),
    ExactLocalAnchor(0.05, composed=True),
    ExactLocalAnchor(0.3),
]


def step_from_marginal(kernel: Kernel, flow_map: GaussianMap, t: float, r: float) -> Tensor:
    """x_r drawn by the kernel from x_t ~ p_t, shape (NUM, NUM_DIMS)."""
    generator = torch.Generator().manual_seed(0)
    x_t = flow_map.draw(NUM, NUM_DIMS, t, generator)
    step = kernel.step(flow_map, x_t, torch.full((NUM,), t), torch.full((NUM,), r), {})
    return step.sample(torch.randn(x_t.shape, generator=generator))


def assert_marginal(x: Tensor, mean: float, variance: float) -> None:
    """Mean and variance within five standard errors."""
    num = x.numel()
    assert abs(float(x.mean()) - mean) < 5 * math.sqrt(variance / num)
    assert abs(float(x.var()) / variance - 1) < 5 * math.sqrt(2 / num)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)
@pytest.mark.parametrize("kernel", EXACT, ids=str)
@pytest.mark.parametrize(("t", "r"), TIMES)
def test_exact_kernels_keep_the_marginal(kernel: Kernel, t: float, r: float, path: AffinePath) -> None:
    flow_map, at = GaussianMap(path=path), torch.tensor(r)
    x_r = step_from_marginal(kernel, flow_map, t, r)
    assert_marginal(x_r, float(path.a(at)) * flow_map.mean, float(flow_map.variance(at)))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)
@pytest.mark.parametrize(("t", "r"), [(1.0, 0.76), (0.76, 0.29), (1.0, 0.94)])
def test_the_local_anchor_has_the_excess_variance_of_its_formula(
    t: float, r: float, path: AffinePath
) -> None:
    kernel, flow_map, at = LocalAnchor(), GaussianMap(mean=0.0, path=path), torch.tensor(r)
    variance = float(flow_map.variance(at))
    step = kernel.epsilon * kernel.noise**2 * float(path.b(at) / path.a(at))
    x_r = step_from_marginal(kernel, flow_map, t, r)
    assert_marginal(x_r, 0.0, variance * (1 + (step / variance) ** 2))


def test_on_a_rectified_flow_the_local_anchor_is_the_papers() -> None:
    flow_map = GaussianMap()
    x_t = flow_map.draw(3, 2, 0.8, torch.Generator().manual_seed(1))
    t, r = torch.full((3,), 0.8), torch.full((3,), 0.3)
    there = flow_map.transport(x_t, t, r, {})
    drift = there / (1 - 0.3) + flow_map.velocity(there, r, {})
    found = LocalAnchor(epsilon=0.03, noise=0.7).step(flow_map, x_t, t, r, {})
    torch.testing.assert_close(found.mean, there - 0.03 * 0.7**2 * drift)
    torch.testing.assert_close(found.std, torch.full((3,), 0.7 * (2 * 0.03 * 0.3 / 0.7) ** 0.5))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)
def test_a_velocity_tells_the_noise(path: AffinePath) -> None:
    generator = torch.Generator().manual_seed(2)
    x_0, noise = torch.randn(2, 5, 3, generator=generator)
    t = torch.rand(5, generator=generator)
    drawn = path.sample(x_0, noise, t)
    torch.testing.assert_close(path.noise(drawn.x_t, drawn.velocity, t), noise, atol=1e-5, rtol=1e-5)


def test_the_exact_anchor_lies_between_the_endpoint_anchor_and_the_deterministic_map() -> None:
    flow_map = GaussianMap()
    x_t = flow_map.draw(3, 2, 0.8, torch.Generator().manual_seed(1))
    t, r = torch.full((3,), 0.8), torch.full((3,), 0.3)
    endpoint = EndpointAnchor().step(flow_map, x_t, t, r, {})
    far = ExactLocalAnchor(0.9).step(flow_map, x_t, t, r, {})
    torch.testing.assert_close(far.mean, endpoint.mean)
    torch.testing.assert_close(far.std, endpoint.std)
    near = ExactLocalAnchor(1e-6).step(flow_map, x_t, t, r, {})
    torch.testing.assert_close(near.mean, flow_map.transport(x_t, t, r, {}), atol=1e-5, rtol=0)
    assert float(near.std.max()) < 2e-3


def test_the_local_anchor_stays_finite_near_noise() -> None:
    flow_map, ones = GaussianMap(), torch.ones(2)
    step = LocalAnchor().step(flow_map, torch.randn(2, 3), ones, ones * 0.999, {})
    assert bool(step.mean.isfinite().all())
    assert float(step.std.max()) < 1


def test_log_prob_and_kl_agree_with_torch_distributions() -> None:
    generator = torch.Generator().manual_seed(3)
    mean, other_mean, x = torch.randn(3, 5, 2, 3, 3, generator=generator)
    std, other_std = torch.rand(2, 5, generator=generator) + 0.1
    step, other = GaussianStep(mean, std), GaussianStep(other_mean, other_std)
    shape = (5, 1, 1, 1)
    p = torch.distributions.Normal(mean, std.view(shape))
    q = torch.distributions.Normal(other_mean, other_std.view(shape))
    torch.testing.assert_close(step.log_prob(x), p.log_prob(x).flatten(1).sum(1))
    torch.testing.assert_close(step.kl(other), torch.distributions.kl_divergence(p, q).flatten(1).sum(1))


def test_a_rollout_ends_in_the_data_distribution() -> None:
    flow_map, grid = GaussianMap(), (1.0, 0.683, 0.367, 0.05, 0.0)
    noise = torch.randn(len(grid) - 1, NUM, NUM_DIMS, generator=torch.Generator().manual_seed(4))
    rollout = roll_out(flow_map, ExactLocalAnchor(0.05), {}, grid, noise)
    assert_marginal(rollout.x_0, flow_map.mean, flow_map.scale**2)
    assert [round(float(transition.r[0]), 3) for transition in rollout.transitions] == [0.683, 0.367, 0.05]
    assert not any(transition.old.mean.requires_grad for transition in rollout.transitions)
