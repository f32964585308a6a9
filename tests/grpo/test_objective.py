"""Laws of the objective: what GRPO's gradient is, what it ignores, and what stops a run."""

import math

import pytest
import torch
from torch import Tensor

from flowmap.asfmc import GaussianStep, Transition
from flowmap.grpo.advantages import advantages
from flowmap.grpo.kl_controller import KlController
from flowmap.grpo.objective import log_ratio, transition_loss

NUM_GROUPS, NUM_MEMBERS, NUM_DIMS = 3, 4, 6
BATCH = NUM_GROUPS * NUM_MEMBERS
SHARE = torch.full((BATCH,), 1 / BATCH)


def gaussian(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def transition() -> Transition:
    """One transition of a whole batch, drawn from its own old distribution."""
    old = GaussianStep(gaussian(BATCH, NUM_DIMS, seed=0), torch.linspace(0.2, 0.6, BATCH))
    x_r = old.sample(gaussian(BATCH, NUM_DIMS, seed=1))
    return Transition(torch.ones(BATCH), torch.full((BATCH,), 0.5), torch.zeros(BATCH, NUM_DIMS), x_r, old)


@pytest.mark.parametrize("normalised", [False, True])
def test_the_ratio_is_one_under_the_old_policy(*, normalised: bool) -> None:
    drawn = transition()
    assert not log_ratio(drawn.old, drawn, normalised=normalised).any()


def test_the_log_ratio_is_that_of_the_densities_less_its_bias() -> None:
    drawn = transition()
    new = GaussianStep(drawn.old.mean + 0.1 * gaussian(BATCH, NUM_DIMS, seed=9), drawn.old.std)
    plain = new.log_prob(drawn.x_r) - drawn.old.log_prob(drawn.x_r) + new.kl(drawn.old)
    found = log_ratio(new, drawn, normalised=False)
    torch.testing.assert_close(found, plain / math.sqrt(NUM_DIMS), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(log_ratio(new, drawn, normalised=True), found * drawn.old.std)


def test_the_corrected_log_ratio_has_mean_zero_under_the_old_policy() -> None:
    num = 200_000
    old = GaussianStep(torch.zeros(num, 2), torch.full((num,), 0.5))
    x_r = old.sample(gaussian(num, 2, seed=6))
    drawn = Transition(torch.ones(num), torch.ones(num) / 2, torch.zeros(num, 2), x_r, old)
    ratio = log_ratio(GaussianStep(torch.full((num, 2), 0.3), old.std), drawn, normalised=False)
    assert abs(float(ratio.mean())) < 5 * float(ratio.std()) / math.sqrt(num)


@pytest.mark.parametrize("ratio_norm", [False, True])
def test_at_ratio_one_the_gradient_is_that_of_reinforce(*, ratio_norm: bool) -> None:
    """Where the ratio is normalised, each sample's is weighed by its noise."""
    drawn = transition()
    advantage = advantages([gaussian(NUM_GROUPS, NUM_MEMBERS, seed=7)], [1.0]).values.flatten()
    mean = drawn.old.mean.clone().requires_grad_()
    new = GaussianStep(mean, drawn.old.std)
    loss, metrics = transition_loss(
        new, drawn.old, drawn, advantage, SHARE, clip=0.02, kl_weight=0.0, ratio_norm=ratio_norm
    )
    (found,) = torch.autograd.grad(loss, mean)
    weight = drawn.old.std if ratio_norm else 1.0
    reinforce = -(SHARE * advantage * weight * new.log_prob(drawn.x_r)).sum() / math.sqrt(NUM_DIMS)
    (expected,) = torch.autograd.grad(reinforce, mean)
    torch.testing.assert_close(found, expected)
    assert float(metrics["drift"]) == 0


def test_beyond_the_clip_only_what_undoes_the_change_has_a_gradient() -> None:
    drawn = transition()
    direction = drawn.x_r - drawn.old.mean
    mean = (drawn.old.mean + 0.5 * direction).requires_grad_()
    new = GaussianStep(mean, drawn.old.std)
    assert float(log_ratio(new, drawn, normalised=False).exp().min().detach()) > 1.02
    for advantage, moves in ((1.0, False), (-1.0, True)):
        loss, _ = transition_loss(
            new,
            drawn.old,
            drawn,
            torch.full((BATCH,), advantage),
            SHARE,
            clip=0.02,
            kl_weight=0.0,
            ratio_norm=False,
        )
        (gradient,) = torch.autograd.grad(loss, mean)
        assert bool(gradient.any()) == moves


def test_the_kl_pulls_towards_the_reference() -> None:
    drawn = transition()
    mean = (drawn.old.mean + 1.0).requires_grad_()
    new = GaussianStep(mean, drawn.old.std)
    loss, metrics = transition_loss(
        new, drawn.old, drawn, torch.zeros(BATCH), SHARE, clip=0.02, kl_weight=0.5, ratio_norm=False
    )
    (gradient,) = torch.autograd.grad(loss, mean)
    assert bool((gradient > 0).all())
    torch.testing.assert_close(metrics["kl"], (NUM_DIMS / (2 * drawn.old.std.square())).mean())


def test_the_controller_moves_against_the_error_within_its_bounds() -> None:
    controller = KlController(weight=1.0, target=0.9)
    controller.update(9000.0)
    assert controller.weight == pytest.approx(1.1)
    controller.update(0.0)
    assert controller.weight == pytest.approx(1.1 * 0.9)
    controller.update(0.9)
    assert controller.weight == pytest.approx(1.1 * 0.9)
    fixed = KlController(weight=0.3, target=None)
    fixed.update(50.0)
    assert fixed.weight == 0.3
