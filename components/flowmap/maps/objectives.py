"""The objectives of base training. Each returns (loss, metrics).

    loss, metrics = mean_flow_loss(network, x, condition, generator=generator)
    loss, metrics = flow_matching_loss(TwoTimeMap(network).velocity, x, condition, generator=generator)

Data x are (batch, *data), times (batch,), and a condition's leaves (batch, ...).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from flowmap.maps.condition import Condition, rows
from flowmap.maps.flow_map import OneTimeNetwork, TwoTimeNetwork
from flowmap.maps.path import RectifiedFlow, over_data

_SMOOTHING = 1e-2
_STEP = 1e-2  # of the central difference, on each side
TIMES = (-0.4, 1.0)  # mean and spread of the normal distribution whose sigmoid a time is
# What is to be learnt as the velocity, from the data's (batch, *data), x_t, t and the condition.
Taught = Callable[[Tensor, Tensor, Tensor, Condition], Tensor]
Slope = Callable[[TwoTimeNetwork, Tensor, Tensor, Tensor, Tensor, Condition], Tensor]
_PATH = RectifiedFlow()


def draw_times(
    num: int,
    equal_times: float,
    generator: torch.Generator,
    start_times: float = 0.0,
    times: tuple[float, float] = TIMES,
) -> tuple[Tensor, Tensor]:
    """t >= r, each logit-normal(*times), shape (num,); r = t for a fraction `equal_times` of them.

    For a fraction `start_times` t is 1, where sampling starts: the distribution hardly ever reaches it.
    """
    mean, spread = times
    pair = torch.sigmoid(torch.randn(2, num, generator=generator) * spread + mean)
    t, r = pair.max(0).values, pair.min(0).values
    r = torch.where(torch.rand(num, generator=generator) < equal_times, t, r)
    t[: round(start_times * num)] = 1.0
    return t, r


def exact_slope(
    network: TwoTimeNetwork, z: Tensor, velocity: Tensor, t: Tensor, r: Tensor, condition: Condition
) -> Tensor:
    """du/dt along the path, (batch, *data): the Jacobian-vector product of u(z, r, t) with the tangents (v,
    0, 1)."""
    slope: Tensor = jvp(
        lambda z, t, r: network(z, t, r, condition),
        (z, t, r),
        (velocity, torch.ones_like(t), torch.zeros_like(r)),
    )[1]
    return slope


def unfused_slope(
    network: TwoTimeNetwork, z: Tensor, velocity: Tensor, t: Tensor, r: Tensor, condition: Condition
) -> Tensor:
    """The same for networks with attention, each product of it on its own: of fused ones there is none."""
    with sdpa_kernel(SDPBackend.MATH):
        return exact_slope(network, z, velocity, t, r, condition)


def central_difference(
    network: TwoTimeNetwork, z: Tensor, velocity: Tensor, t: Tensor, r: Tensor, condition: Condition
) -> Tensor:
    """The same by two plain forward passes, a step to each side: for networks with fused attention, of
    which there is no such product, and for a half of its seconds.

    Where r is t there is nothing to multiply it with, and it is not taken: 0.
    """
    slope = torch.zeros_like(z)
    apart = (t > r).nonzero()[:, 0]
    if len(apart):
        z, velocity, t, r, told = (
            z[apart],
            velocity[apart],
            t[apart],
            r[apart],
            rows(condition, apart),
        )
        step = _STEP * velocity
        ahead, behind = network(
            torch.cat([z + step, z - step]),
            torch.cat([t + _STEP, t - _STEP]),
            torch.cat([r, r]),
            {name: torch.cat([leaf, leaf]) for name, leaf in told.items()},
        ).chunk(2)
        slope[apart] = (ahead - behind) / (2 * _STEP)
    return slope


def mean_flow_target(
    network: TwoTimeNetwork,
    z: Tensor,
    velocity: Tensor,
    t: Tensor,
    r: Tensor,
    condition: Condition,
    slope: Slope = exact_slope,
) -> Tensor:
    """v - (t - r) du/dt along the path, without gradient, shape (batch, *data).

    Source: MeanFlow (arXiv 2505.13447), equations 8 to 11.
    """
    with torch.no_grad():
        return velocity - over_data(t - r, z) * slope(network, z, velocity, t, r, condition)


def mean_flow_loss(
    network: TwoTimeNetwork,
    x: Tensor,
    condition: Condition,
    *,
    generator: torch.Generator,
    equal_times: float = 0.5,
    start_times: float = 0.0,
    power: float = 0.5,
    times: tuple[float, float] = TIMES,
    slope: Slope = exact_slope,
    taught: Taught | None = None,
    engine: TwoTimeNetwork | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Adaptively weighted squared error of u against the MeanFlow target.

    Args:
        network: gives u, and its derivative along the path.
        equal_times: the fraction of pairs with r = t, where the target is the velocity alone.
        start_times: the fraction of pairs with t = 1.
        generator: of times and noise, on the CPU.
        power: of the adaptive weight; 1 seeks modes, 0 is the plain squared error.
        times: mean and spread of the normal distribution whose sigmoid times are.
        slope: how du/dt is taken, `exact_slope` or `central_difference`.
        taught: what a teacher makes of the data's velocity; without gradient.
        engine: what is differentiated, where that is not the plain network but an engine around it.
    """
    t, r = (times.to(x.device) for times in draw_times(len(x), equal_times, generator, start_times, times))
    noise = torch.randn(x.shape, generator=generator).to(x.device)
    on_path = _PATH.sample(x, noise, t)
    velocity = on_path.velocity
    if taught is not None:
        with torch.no_grad():
            velocity = taught(velocity, on_path.x_t, t, condition)
    target = mean_flow_target(network, on_path.x_t, velocity, t, r, condition, slope)
    return _weighted((engine or network)(on_path.x_t, t, r, condition) - target, power)


def flow_matching_loss(
    velocity: OneTimeNetwork,
    x: Tensor,
    condition: Condition,
    *,
    generator: torch.Generator,
    power: float = 0.5,
    times: tuple[float, float] = TIMES,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Adaptively weighted squared error of v(x_t, t) against eps - x_0: the many-step baseline.

    The weighting is MeanFlow's: with plain mean squared error the prompt is learnt far more slowly.

    Source: flow matching (arXiv 2210.02747).
    """
    t = draw_times(len(x), 1.0, generator, times=times)[0].to(x.device)
    noise = torch.randn(x.shape, generator=generator).to(x.device)
    on_path = _PATH.sample(x, noise, t)
    return _weighted(velocity(on_path.x_t, t, condition) - on_path.velocity, power)


def _weighted(difference: Tensor, power: float) -> tuple[Tensor, dict[str, Tensor]]:
    """||d||^2 / stop_grad(||d||^2 + c)^p, averaged over the batch.

    Source: MeanFlow, equation 22.
    """
    error = difference.flatten(1).square().sum(1)
    loss = (error / (error.detach() + _SMOOTHING) ** power).mean()
    return loss, {"error": error.detach().mean() / difference[0].numel()}
