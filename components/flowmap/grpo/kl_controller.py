"""Holds the KL of one transition to the reference at a target, in nats."""

from __future__ import annotations

from dataclasses import dataclass

_RATE = 0.1
_MOST = 1.1
_LEAST = 0.9


@dataclass
class KlController:
    """The weight beta of the KL in the loss, moved after each rollout by clip((KL / target)^.1, .9, 1.1).

    Faster rates swing: at .3 with bounds far apart the KL went from 3 to .4 nats before it settled.

    Args:
        weight: beta to begin with.
        target: nats a transition, summed over dimensions; None keeps the weight as it is.
    """

    weight: float
    target: float | None

    def update(self, kl: float) -> None:
        if self.target is not None:
            self.weight *= min(max((kl / self.target) ** _RATE, _LEAST), _MOST)
