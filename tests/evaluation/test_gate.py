"""A gate whose every criterion can turn it, and that can't be fooled by who asks again and again."""

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from flowmap.evaluation.advice import advice
from flowmap.evaluation.amounts import SCALES
from flowmap.evaluation.controls import NoiseCurve
from flowmap.evaluation.gate import decide, level_of
from flowmap.registry import Rejection
from flowmap.registry.evaluation_result import Verdict
from flowmap.settings import Evaluation
from tests.evaluation.samples import measurer, split

GAIN = {"mean": 0.2, "low": 0.1, "high": 0.3}
SAME = {"mean": 0.0, "low": -0.01, "high": 0.01}
AS_LARGE = {"mean": 1.0, "low": 0.95, "high": 1.05}
GOOD = {
    "judge_score": GAIN,
    "above_noise_scale": GAIN,
    "kid_judge": {"mean": 0.0, "low": -0.005, "high": 0.005},
    "fd_judge": AS_LARGE,
    "recall": SAME,
    "coverage": SAME,
    "diversity": AS_LARGE,
    "copies": SAME,
}


def verdict_of(
    judge_on_real: float = 0.95, trial: int = 1, diversity_of_real: float = 1.0, **difference: Any
) -> Verdict:
    return decide(
        Evaluation(),
        against="base",
        trial=trial,
        num_evaluations=4,
        against_evaluations=4,
        difference=GOOD | difference,
        judge_on_real=judge_on_real,
        judge_on_anchor=0.9,
        num_real=281,
        diversity_of_real=diversity_of_real,
    )


def ends(low: float, high: float) -> dict[str, float]:
    return {"mean": (low + high) / 2, "low": low, "high": high}


@pytest.mark.parametrize(
    ("difference", "failed"),
    [
        ({}, []),
        ({"judge_score": ends(0.0, 0.3)}, ["judge_score"]),
        ({"above_noise_scale": ends(-0.01, 0.3)}, ["above_noise_scale"]),
        ({"above_noise_scale": ends(1e-9, 1e-9)}, ["above_noise_scale"]),  # the same but for rounding
        ({"kid_judge": ends(0, 0.01), "fd_judge": ends(0.9, 1.25)}, []),
        ({"kid_judge": ends(0, 0.011)}, ["kid_judge"]),
        ({"fd_judge": ends(0.9, 1.26)}, ["fd_judge"]),
        ({"recall": ends(-0.051, 0.1)}, ["recall"]),
        ({"coverage": ends(-0.101, 0.1)}, ["coverage"]),
        ({"diversity": ends(0.89, 1.1)}, ["diversity"]),
        ({"diversity": ends(0.73, 1.1), "diversity_of_real": 0.8}, []),  # no less than real data
        ({"diversity": ends(0.71, 1.1), "diversity_of_real": 0.8}, ["diversity"]),
        ({"diversity": ends(0.89, 1.1), "diversity_of_real": 1.3}, ["diversity"]),
        ({"copies": ends(0.0, 0.051)}, ["copies"]),
        ({"judge_on_real": 0.83}, ["judge"]),
        ({"judge_on_real": 0.84}, []),  # within three standard errors
    ],
)
def test_the_gate_names_the_criterion_that_fails(difference: dict[str, Any], failed: list[str]) -> None:
    verdict = verdict_of(**difference)
    assert verdict.failed == failed
    assert verdict.verdict == ("reject" if failed else "promote")


def test_no_criterion_is_passed_by_what_is_not_finite_and_the_verdict_can_be_read_again() -> None:
    unknown: dict[str, Any] = dict.fromkeys(GOOD, dict.fromkeys(("mean", "low", "high"), math.nan))
    verdict = verdict_of(**unknown)
    assert verdict.failed == list(GOOD)
    again = Verdict.model_validate_json(verdict.model_dump_json())
    assert math.isnan(again.criteria[1].figure)
    figures = {"recall": math.nan}
    told: dict[str, Any] = {"evaluation": "e", "incumbent": None, "verdict": {}, "figures": figures}
    rejection = Rejection(name="x", candidate="c", **told)
    assert math.isnan(Rejection.model_validate_json(rejection.model_dump_json()).figures["recall"])


def test_the_levels_of_all_trials_add_up_to_what_was_asked_for() -> None:
    levels = [level_of(trial, 0.05) for trial in range(1, 100_000)]
    assert levels[0] == 0.025
    assert all(before > after for before, after in itertools.pairwise(levels))
    assert 0.0499 < sum(levels) < 0.05


def curve_of(points: list[tuple[float, float]]) -> NoiseCurve:
    """Of points of diversity and score, the latter the same for every sample."""
    whole = measurer().measure([(split(20, 5).data, split(20, 5).prompts)])
    return NoiseCurve(
        tuple(
            replace(whole, figures={"diversity": spread}, score=torch.full((4,), score))
            for spread, score in points
        )
    )


@pytest.mark.parametrize(
    ("points", "diversity", "expected"),
    [
        ([(0.4, -0.8), (0.3, -0.6), (0.2, -0.5)], 0.4, -0.8),
        ([(0.4, -0.8), (0.3, -0.6), (0.2, -0.5)], 0.35, -0.7),
        ([(0.4, -0.8), (0.3, -0.6), (0.2, -0.5)], 0.3, -0.6),
        ([(0.4, -0.8), (0.3, -0.6), (0.2, -0.5)], 0.9, -0.8),  # nobody varies as much: as it is
        ([(0.4, -0.8), (0.3, -0.6), (0.2, -0.5)], 0.1, math.nan),  # nor as little
        ([(0.4, -0.5), (0.3, -0.8)], 0.35, -0.5),  # where less noise loses, it is not taken
        ([(0.4, -0.8), (0.45, -0.6), (0.3, -0.7)], 0.4, -0.6),  # where it varies more and gains, it is
        ([(0.4, -0.8), (0.45, -0.6), (0.3, -0.7)], 0.45001, -0.6),  # as varied but for rounding
    ],
)
def test_what_less_noise_gives_is_the_best_of_what_varies_as_much(
    points: list[tuple[float, float]], diversity: float, expected: float
) -> None:
    torch.testing.assert_close(
        curve_of(points).score_at(diversity), torch.full((4,), expected), equal_nan=True
    )


def test_every_scale_is_a_row() -> None:
    assert [row["scale"] for row in curve_of([(0.4, -0.8)] * len(SCALES)).rows()] == list(SCALES)


REAL = {"judge_score": -0.3, "judge_accuracy": 0.9}
BELOW = {"judge_score": -0.6, "judge_accuracy": 0.7}
MOVED = [{"kl": 0.3}]
NO_GAIN = ends(-0.1, 0.05)


@pytest.mark.parametrize(
    ("difference", "incumbent", "training", "told"),
    [
        ({}, BELOW, MOVED, None),
        ({"judge_on_real": 0.5}, BELOW, MOVED, "so it decides nothing. Either it has seen too few data"),
        ({"judge_score": NO_GAIN}, REAL, MOVED, "already shows its prompt as often as real data do (90.0%"),
        ({"judge_score": NO_GAIN}, BELOW, [{"kl": 0.001}], "The policy hardly moved (KL 0.001 nats)"),
        ({"judge_score": ends(-0.05, 0.2)}, BELOW, MOVED, "so small a one could be chance"),
        ({"judge_score": NO_GAIN}, BELOW, MOVED, "sees no gain over the base (-0.0250)"),
        ({"above_noise_scale": NO_GAIN}, BELOW, MOVED, "typical rather than right"),
        ({"kid_judge": ends(0.02, 0.04)}, BELOW, MOVED, "have left the real data (kid_judge)"),
        ({"kid_judge": ends(-0.03, 0.03)}, BELOW, MOVED, "too few to be sure"),
        ({"recall": ends(-0.2, -0.1)}, BELOW, MOVED, "real data that the samples no longer reach"),
        ({"kid_judge": ends(math.nan, math.nan)}, BELOW, MOVED, "the training diverged"),
    ],
)
def test_a_rejection_says_why_and_what_to_try(
    difference: dict[str, Any], incumbent: dict[str, float], training: Any, told: str | None
) -> None:
    found = advice(verdict_of(**difference), GOOD | difference, incumbent, REAL, training)
    if told is None:
        assert found == ()
    else:
        assert told in " ".join(found)
        assert len(found) == 1


def test_a_policy_on_a_short_leash_has_moved_where_it_went_as_far_as_it_may() -> None:
    lost: dict[str, Any] = {"judge_score": NO_GAIN}
    for target, told in ((0.002, "The judge sees no gain"), (0.2, "The policy hardly moved")):
        (sentence,) = advice(verdict_of(**lost), GOOD | lost, BELOW, REAL, [{"kl": 0.0015}], target)
        assert sentence.startswith(told)
