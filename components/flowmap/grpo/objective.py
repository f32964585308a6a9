"""The clipped ratio and the KL: GRPO (arXiv 2402.03300) on Gaussian transitions.

What belongs to a transition has shape (batch,), batch = groups x members.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowmap.asfmc import GaussianStep, Transition

_MAX_ADVANTAGE = 5.0
_MAX_LOG_RATIO = 20.0


def log_ratio(new: GaussianStep, transition: Transition, *, normalised: bool) -> Tensor:
    """The bias-corrected log of new over old density of x_r, over sqrt(D), shape (batch,).

    Under the old policy the log-ratio has mean -||m_new - m_old||^2 / (2 s^2), which is added back: what is
    left is <x_r - m_old, m_new - m_old> / s^2, computed so, without the cancellation of two densities.
    Dividing by sqrt(D), D the number of dimensions, lets one clip range serve every resolution.

    Args:
        normalised: multiply by s, which makes the gradient even over transitions of different noise.

    Source: ratio normalisation of GRPO-Guard (arXiv 2510.22319).
    """
    old = transition.old
    along = ((transition.x_r - old.mean) * (new.mean - old.mean)).flatten(1).sum(1)
    scale = old.std if normalised else old.std.square()
    return along / (scale * math.sqrt(transition.x_r[0].numel()))


def transition_loss(
    new: GaussianStep,
    reference: GaussianStep,
    transition: Transition,
    advantage: Tensor,
    share: Tensor,
    *,
    clip: float,
    kl_weight: float,
    ratio_norm: bool,
) -> tuple[Tensor, dict[str, Tensor]]:
    """sum share (max(-A rho, -A clip(rho, 1-c, 1+c)) + beta / sqrt(D) KL).

    The KL carries 1 / sqrt(D), as the ratio does, so that beta too means the same at every resolution; and
    s^2 where the ratio is normalised by s, so that both weigh transitions alike.

    Args:
        advantage: A, shape (batch,), clipped to [-5, 5] here.
        share: each sample's weight in the mean, zero where it has no part, shape (batch,).
        clip: c, in units of sigma, or of the data where `ratio_norm`; kl_weight: beta.
        ratio_norm: normalise the log-ratio by the transition's noise.

    Returns:
        The loss, and without a graph: `kl` in nats, `clipped` the share of clipped ratios, `drift` max |rho
            - 1|.
    """
    log = log_ratio(new, transition, normalised=ratio_norm)
    ratio = log.clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO).exp()  # exp overflows beyond 88
    bounded = advantage.clamp(-_MAX_ADVANTAGE, _MAX_ADVANTAGE)
    policy = torch.maximum(-bounded * ratio, -bounded * ratio.clamp(1 - clip, 1 + clip))
    kl = new.kl(reference)
    scale = 1 / math.sqrt(transition.x_r[0].numel())
    weight = transition.old.std.square() if ratio_norm else 1.0
    loss = (share * (policy + kl_weight * scale * weight * kl)).sum()
    distance = (ratio.detach() - 1).abs()
    return loss, {
        "kl": kl.detach().mean(),
        "clipped": (distance > clip).float().mean(),
        "drift": distance.max(),
    }
