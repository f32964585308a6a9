"""What came, as the judge of forecasts: nothing is trained, and nothing about it is uncertain.

A forecast is scored as a member of its group, all forecasts of one occasion: its own part in the energy
score. The mean of the parts is minus that score, which is best for whoever says how likely everything is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from flowmap.data.dataset import Split, read_contexts, read_split
from flowmap.errors import ConfigError, InvariantError
from flowmap.evaluation.drawing import PART
from flowmap.evaluation.judge import Opinion
from flowmap.modality.protocols import Forecasting, Occasions

_NO_PROMPT = -1
_LEARNT_FROM = ("base", "reward")


class Outcomes(nn.Module):
    """Args:
    came: what came at each prompt, (prompts, *data), NaN where that is not known.
    forecasting: what the modality says of hits, and what distances are measured in.
    """

    came: Tensor
    least, capped = -math.inf, False  # a proper score can't be fooled: all of it counts
    calibration_error = 0.0

    def __init__(self, came: Tensor, forecasting: Forecasting) -> None:
        super().__init__()
        self.register_buffer("came", came)
        self.forecasting = forecasting

    def features(self, x: Tensor) -> Tensor:
        """What distances are measured in, (batch, features)."""
        return self.forecasting.features(x)

    def read(self, x: Tensor, prompt: Tensor) -> Opinion:
        """Whole groups of forecasts x (batch, *data), those of one occasion one after the other.

        Raises InvariantError where groups are of different sizes.
        """
        occasions, counts = prompt.unique_consecutive(return_counts=True)
        if int(counts.min()) != int(counts.max()):
            raise InvariantError(
                "forecasts of an occasion are scored together, and a part of them is missing"
            )
        groups = x.flatten(1).unflatten(0, (len(occasions), -1))
        came = self.came[occasions].flatten(1)
        score = score_parts(groups, came).flatten()
        right = self.forecasting.hits(x, self.came[prompt])
        return Opinion(score, right, torch.where(right, prompt, _NO_PROMPT))


def score_parts(groups: Tensor, came: Tensor) -> Tensor:
    """Each member's part in minus the energy score of its group, over the root of the dimensions.

    Args:
        groups: forecasts (groups, members, dims); came: (groups, dims).

    Returns:
        (groups, members), with the mean sum_i -|x_i - y| / m + sum_{i != j} |x_i - x_j| / (2 m (m - 1)):
        the fair score, whose expectation does not depend on m (Gneiting and Raftery 2007, equation 22).
    """
    num_members, num_dims = groups.shape[1:]
    away = (groups - came[:, None]).norm(dim=-1)
    among = torch.cdist(groups, groups).sum(2) / (2 * max(num_members - 1, 1))
    parts: Tensor = (among - away) / num_dims**0.5
    return parts


def outcomes_of(data: Path, num_prompts: int, forecasting: Forecasting) -> Outcomes:
    """With what came at every occasion that data_prep knows."""
    splits = [read_split(data, name) for name in (*_LEARNT_FROM, "judge", "holdout")]
    came = torch.full((num_prompts, *splits[0].data.shape[1:]), math.nan)
    for each in splits:
        came[each.prompts] = each.data
    return Outcomes(came, forecasting)


def occasions_asked(held_out: Split, num_each: int, most: int) -> Tensor:
    """The prompt of each forecast, (N,): as many of each held-out occasion, or of so many of them, evenly
    spaced.

    Raises ConfigError for a number that does not divide the size of a part.
    """
    if PART % num_each:
        raise ConfigError(
            f"evaluation.samples_per_prompt is {num_each}: forecasts of an occasion are scored together, so "
            f"it has to divide {PART}"
        )
    known = held_out.prompts.sort().values
    chosen = torch.linspace(0, len(known) - 1, min(most, len(known))).round().long()
    return known[chosen].repeat_interleave(num_each)


def simpler(
    data: Path, prompt: Tensor, forecasting: Forecasting, generator: torch.Generator
) -> Mapping[str, Tensor]:
    """What simpler methods say for the same occasions, as many forecasts of each, (N, *data), by their
    names; they learn from what base and reward training have."""
    contexts = read_contexts(data)
    assert contexts is not None
    splits = [read_split(data, name) for name in _LEARNT_FROM]
    prompts, came = torch.cat([each.prompts for each in splits]), torch.cat([each.data for each in splits])
    order = prompts.argsort()
    asked, counts = prompt.unique_consecutive(return_counts=True)
    said = forecasting.forecasts(
        Occasions(contexts[prompts[order]], came[order]), contexts[asked], int(counts[0]), generator
    )
    return {name: each.flatten(0, 1) for name, each in said.items()}
