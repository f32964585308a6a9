"""A gate whose every criterion can turn it, and that can't be fooled by who asks again and again."""

import itertools
import math
from typing import Any

import pytest
import torch

from flowmap.evaluation.advice import advice
from flowmap.evaluation.controls import SCALES, NoiseCurve
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


def verdict_of(judge_on_real: float = 0.95, trial: int = 1, **difference: Any) -> Verdict:
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
    )


def ends(low: float, high: float) -> dict[str, float]:
    return {"mean": (low + high) / 2, "low": low, "high": high}


@pytest.mark.parametrize(
    ("difference", "failed"),
    [
        ({}, []),
        ({"judge_score": ends(0.0, 0.3)}, ["judge_score"]),
        ({"above_noise_scale": ends(-0.01, 0.3)}, ["above_noise_scale"]),
        ({"kid_judge": ends(0, 0.01), "fd_judge": ends(0.9, 1.25)}, []),
        ({"kid_judge": ends(0, 0.011)}, ["kid_judge"]),
        ({"fd_judge": ends(0.9, 1.26)}, ["fd_judge"]),
        ({"recall": ends(-0.051, 0.1)}, ["recall"]),
        ({"coverage": ends(-0.101, 0.1)}, ["coverage"]),
        ({"diversity": ends(0.89, 1.1)}, ["diversity"]),
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


def test_between_two_scales_the_curve_is_both_of_them_mixed() -> None:
    some, data = measurer(), split(60, 5)
    measured = tuple(some.measure([(data.data * scale, data.prompts)]) for scale in SCALES)
    curve = NoiseCurve(measured)
    spreads = [each.figures["diversity"] for each in measured]
    assert torch.equal(curve.score_at(2 * spreads[0]), measured[0].score)
    assert torch.equal(curve.score_at(0.5 * spreads[-1]), measured[-1].score)
    between = curve.score_at((spreads[1] + spreads[2]) / 2)
    torch.testing.assert_close(between, (measured[1].score + measured[2].score) / 2)
    assert [row["scale"] for row in curve.rows()] == list(SCALES)


REAL = {"judge_score": -0.3, "judge_accuracy": 0.9}
BELOW = {"judge_score": -0.6, "judge_accuracy": 0.7}
MOVED = [{"kl": 0.3}]
NO_GAIN = ends(-0.1, 0.05)


@pytest.mark.parametrize(
    ("difference", "incumbent", "training", "told"),
    [
        ({}, BELOW, MOVED, None),
        ({"judge_on_real": 0.5}, BELOW, MOVED, "it has seen too few data, so it decides nothing"),
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
