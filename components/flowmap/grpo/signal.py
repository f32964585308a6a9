"""Which transitions carry signal: the gradient of each, from two halves of the groups.

    for each in transition_signals(grpo, num_rollouts=8):
        print(each.t, each.r, each.cosine, each.error)

Two halves of a batch are two independent estimates of one gradient. Where they agree there is something to
learn; where they do not, an update is noise, however large it is. Nothing is trained.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flowmap.asfmc import Transition
from flowmap.errors import ConfigError
from flowmap.grpo.advantages import Advantages, advantages
from flowmap.grpo.trainer import Grpo
from flowmap.maps import Condition

_WORTH = 0.5  # of the best transition's cosine


@dataclass(frozen=True)
class TransitionSignal:
    """Of one interval of the grid, t -> r.

    Attributes:
        std: the noise of the transition.
        cosine: of the gradients of two halves, the mean over rollouts; 1 is all signal, 0 all noise.
        error: its standard error.
        norm: of the whole gradient, the mean over rollouts.
    """

    index: int
    t: float
    r: float
    std: float
    cosine: float
    error: float
    norm: float


def transition_signals(grpo: Grpo, num_rollouts: int) -> list[TransitionSignal]:
    """Measure every transition of the grid that is stochastic in the settings, on the policy as it is.

    Args:
        grpo: in one process, with at least two groups.
        num_rollouts: each with prompts and noise of its own; at least two, for the error.

    Raises:
        ConfigError: fewer groups or rollouts than that.
    """
    if len(grpo.groups) < 2 or num_rollouts < 2:
        raise ConfigError("the signal of a transition takes at least two groups and two rollouts")
    found: dict[int, list[tuple[float, float]]] = {}
    seen: dict[int, Transition] = {}
    for index in range(num_rollouts):
        groups = grpo.draw_prompts(index)
        members = grpo.members(groups)
        drawn, scores = grpo.draw(index, members, groups)
        weights = [each.weight for each in grpo.rewards]
        given = advantages(scores.values, weights, grpo.settings.advantage_std, grpo.engine.sum)
        for transition in drawn.transitions:
            one, other = (_gradient(grpo, transition, members, given, half) for half in _halves(grpo))
            cosine = torch.nn.functional.cosine_similarity(one, other, dim=0)
            found.setdefault(transition.index, []).append((float(cosine), float((one + other).norm()) / 2))
            seen[transition.index] = transition
    return [_signal(seen[index], found[index]) for index in sorted(found)]


def worth_training(signals: list[TransitionSignal]) -> tuple[int, ...]:
    """The intervals whose cosine is beyond doubt and at least half the best one's; the best one anyway."""
    best = max(signals, key=lambda each: each.cosine)
    return tuple(
        each.index
        for each in signals
        if each is best or each.cosine > max(2 * each.error, _WORTH * best.cosine)
    )


def _halves(grpo: Grpo) -> tuple[slice, slice]:
    """Rows of the first and of the second half of the groups."""
    size = grpo.settings.group_size
    middle, end = len(grpo.groups) // 2 * size, len(grpo.groups) * size
    return slice(0, middle), slice(middle, end)


def _gradient(
    grpo: Grpo, transition: Transition, members: Condition, given: Advantages, half: slice
) -> Tensor:
    """Of the policy's loss alone, without KL, on some rows, flat."""
    counted = torch.zeros_like(given.counted.flatten(), dtype=torch.float32)
    counted[half] = given.counted.flatten()[half].float()
    share = counted / counted.sum().clamp(min=1)
    loss, _ = grpo.loss(transition, half, members, given, share, kl_weight=0.0)
    parameters = list(grpo.model.parameters())
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    return torch.cat(
        [
            (torch.zeros_like(parameter) if gradient is None else gradient).flatten()
            for parameter, gradient in zip(parameters, gradients, strict=True)
        ]
    )


def _signal(transition: Transition, found: list[tuple[float, float]]) -> TransitionSignal:
    cosines, norms = torch.tensor(found).T
    return TransitionSignal(
        index=transition.index,
        t=float(transition.t[0]),
        r=float(transition.r[0]),
        std=float(transition.old.std.flatten()[0]),
        cosine=float(cosines.mean()),
        error=float(cosines.std() / len(cosines) ** 0.5),
        norm=float(norms.mean()),
    )
