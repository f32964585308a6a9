"""Group-relative advantages, the clipped ratio and the KL: GRPO (arXiv 2402.03300) on Gaussian transitions.

Shapes: rewards and advantages (groups, members); what belongs to a transition (batch,), batch = groups x members.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flowmap.asfmc import GaussianStep, Transition
from flowmap.errors import InvariantError

_MAX_ADVANTAGE = 5.0
_STD_FLOOR = 1e-4
_EQUAL = 1e-6
_MAX_SUM = 1e-3
_MAX_LOG_RATIO = 20.0


@dataclass(frozen=True)
class Advantages:
    """values (groups, members), each row adding up to zero; alive (groups,), False where all rewards are equal."""

    values: Tensor
    alive: Tensor


def normalise(rewards: Tensor) -> Tensor:
    """(R - mean) / (std + 1e-4) within each group, shape (groups, members)."""
    return (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + _STD_FLOOR)


def mix(rewards: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Several rewards as one: each normalised within its group, then weighed and added."""
    return torch.stack([weight * normalise(r) for r, weight in zip(rewards, weights, strict=True)]).sum(0)


def advantages(rewards: Tensor) -> Advantages:
    """Group-relative advantages of rewards (groups, members).

    Raises:
        InvariantError: a reward is not finite or carries a graph, or a group's advantages do not add up to zero.
    """
    if rewards.requires_grad:
        raise InvariantError("a reward carries a graph: rewards are scored without gradients")
    if not bool(rewards.isfinite().all()):
        bad = (~rewards.isfinite().all(1)).nonzero()[:, 0].tolist()
        raise InvariantError(f"the reward is not finite in {len(bad)} of {len(rewards)} groups (first {bad[:5]})")
    alive = rewards.std(1) > _EQUAL * (1 + rewards.abs().mean(1))
    values = normalise(rewards) * alive[:, None]
    if float(values.sum(1).abs().max()) > _MAX_SUM:
        raise InvariantError(
            f"the advantages of a group add up to {float(values.sum(1).abs().max()):.2g} instead of 0: the rewards' "
            f"size ({float(rewards.abs().max()):.2g}) leaves their differences no digits; rescale the reward"
        )
    return Advantages(values, alive)


def log_ratio(new: GaussianStep, transition: Transition) -> Tensor:
    """The bias-corrected log of new over old density of x_r, over sqrt(D), shape (batch,).

    Under the old policy the log-ratio has mean -||m_new - m_old||^2 / (2 s^2), which is added back; dividing by
    sqrt(D), D the number of dimensions, lets one clip range serve every resolution.

    Source: ratio normalisation of GRPO-Guard (arXiv 2510.22319).
    """
    num_dims = transition.x_r[0].numel()
    bias = new.kl(transition.old).detach()
    return (new.log_prob(transition.x_r) - transition.old.log_prob(transition.x_r) + bias) / math.sqrt(num_dims)


def transition_loss(
    new: GaussianStep,
    reference: GaussianStep,
    transition: Transition,
    advantage: Tensor,
    share: Tensor,
    *,
    clip: float,
    kl_weight: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """sum share (max(-A rho, -A clip(rho, 1-c, 1+c)) + beta / sqrt(D) KL).

    The KL carries 1 / sqrt(D), as the ratio does, so that beta too means the same at every resolution.

    Args:
        advantage: A, shape (batch,), clipped to [-5, 5] here.
        share: each sample's weight in the mean, zero in groups that are not alive, shape (batch,).
        clip: c, in units of sigma; kl_weight: beta.

    Returns:
        The loss, and without a graph: `kl` in nats, `clipped` the share of clipped ratios, `drift` max |rho - 1|.
    """
    ratio = log_ratio(new, transition).clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO).exp()  # exp overflows beyond 88
    bounded = advantage.clamp(-_MAX_ADVANTAGE, _MAX_ADVANTAGE)
    policy = torch.maximum(-bounded * ratio, -bounded * ratio.clamp(1 - clip, 1 + clip))
    kl = new.kl(reference)
    scale = 1 / math.sqrt(transition.x_r[0].numel())
    loss = (share * (policy + kl_weight * scale * kl)).sum()
    distance = (ratio.detach() - 1).abs()
    return loss, {
        "kl": kl.detach().mean(),
        "clipped": (distance > clip).float().mean(),
        "drift": distance.max(),
    }
