"""How forecasts of a series are judged: what a hit is, and what persistence, the season before and linear
autoregressions say.

Values are relative to the last known one, in units in which base training's futures have a standard
deviation of .5.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowmap.errors import ConfigError
from flowmap.modality.protocols import Occasions

TOLERANCE = 0.1  # of the last value, which a hit is within
Method = Callable[[Tensor, int], Tensor]


def features(x: Tensor) -> Tensor:
    """The values themselves, (batch, values)."""
    return x.flatten(1)


def hits(x: Tensor, came: Tensor) -> Tensor:
    """Whether the last value of each is within a tenth of a unit of what came."""
    found: Tensor = (x[:, -1] - came[:, -1]).abs() <= TOLERANCE
    return found


def forecasts(
    occasions: Occasions, context: Tensor, num_each: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Each with the errors that the method made on the occasions, drawn at random, around what it says.

    Args:
        occasions: what base and reward training have.
        context: of the occasions that are asked for, (N, past).
    """
    num_values = occasions.came.shape[1]
    methods = {
        "persistence": _persistence,
        "season before": _season_before,
        "autoregression, statsmodels": _autoregression(occasions),
    }
    found = {}
    for name, method in methods.items():
        errors = occasions.came - method(occasions.context, num_values)
        drawn = torch.randint(len(errors), (len(context), num_each), generator=generator)
        found[name] = method(context, num_values)[:, None] + errors[drawn]
    return found


def _persistence(context: Tensor, num_values: int) -> Tensor:
    """The last known value stays."""
    return context[:, -1:].expand(-1, num_values)


def _season_before(context: Tensor, num_values: int) -> Tensor:
    """What came a context's length before, from where it was then: right where that is a season."""
    repeats = -(-num_values // context.shape[1])
    return context.repeat(1, repeats)[:, :num_values] - context[:, :1] + context[:, -1:]


def _autoregression(occasions: Occasions) -> Method:
    """Each value by least squares from a context and a constant: a direct autoregression for every step."""
    try:
        from statsmodels.regression.linear_model import OLS
    except ImportError:
        raise ConfigError("forecasts are held against statsmodels': pip install 'flowmap[series]'") from None
    known = _with_constant(occasions.context.double().numpy())
    fitted = [OLS(value, known).fit().params for value in occasions.came.double().numpy().T]
    weights = np.stack(fitted, 1)

    def method(context: Tensor, num_values: int) -> Tensor:
        return torch.from_numpy(_with_constant(context.double().numpy()) @ weights).float()

    return method


def _with_constant(context: NDArray[np.float64]) -> NDArray[np.float64]:
    """All but the last value, to which the others are relative and which is 0, and a 1."""
    return np.concatenate([context[:, :-1], np.ones((len(context), 1))], 1)
