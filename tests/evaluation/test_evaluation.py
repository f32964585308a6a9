"""Distances that are known exactly, intervals that cover, a gate whose every criterion can turn it."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from flowmap.evaluation.charts import COLOURS, Line, line_chart
from flowmap.evaluation.distances import (
    distance_intervals,
    frechet_distance,
    kernel_distance,
    paired_interval,
    precision_recall,
)
from flowmap.evaluation.gate import decide
from flowmap.evaluation.measure import FIGURES, Measurer
from flowmap.evaluation.report import first_of_each
from flowmap.modality.images.judging import make_judge
from flowmap.modality.images.pictures import contact_sheet
from flowmap.registry import Rejection
from flowmap.registry.evaluation_result import Verdict
from flowmap.rewards.preference import PreferenceNetwork
from flowmap.settings import Evaluation

GOOD = {"fd_judge": 10.0, "recall": 0.9, "diversity": 0.3}


def normal(num: int, num_dims: int, seed: int, mean: float = 0.0, scale: float = 1.0) -> Any:
    return np.random.default_rng(seed).normal(mean, scale, (num, num_dims))


def test_the_frechet_distance_of_two_gaussians_is_the_closed_form() -> None:
    x, y = normal(200_000, 3, 0), normal(200_000, 3, 1, mean=0.5, scale=2.0)
    assert frechet_distance(x, y) == pytest.approx(3 * 0.25 + 3 * (2 - 1) ** 2, rel=0.01)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-8)


def test_the_kernel_distance_is_zero_on_average_between_equal_distributions() -> None:
    same = [kernel_distance(normal(100, 4, seed), normal(100, 4, 1000 + seed)) for seed in range(200)]
    assert abs(np.mean(same)) < 4 * np.std(same) / math.sqrt(len(same))
    assert kernel_distance(normal(500, 4, 0, mean=1.0), normal(500, 4, 1)) > 0.1


def test_the_interval_of_a_change_holds_what_the_distances_say() -> None:
    real, old = normal(200, 4, 0), normal(400, 4, 1, mean=0.3)
    prompt = np.repeat(np.arange(4), 100)
    new = old + 0.2
    found = distance_intervals(old, new, real, prompt, 100, seed=3)
    assert found["kid_judge"]["mean"] == pytest.approx(
        kernel_distance(new, real) - kernel_distance(old, real)
    )
    ratio = frechet_distance(new, real) / frechet_distance(old, real)
    assert found["fd_judge"]["mean"] == pytest.approx(ratio)
    assert found["fd_judge"]["low"] > 1
    for each in found.values():
        assert each["low"] < each["mean"] < each["high"]
    same = distance_intervals(old, old, real, prompt, 50, seed=3)
    assert same["kid_judge"] == {"mean": 0, "low": 0, "high": 0}
    assert same["fd_judge"] == {"mean": 1, "low": 1, "high": 1}


def test_collapse_costs_recall_and_strangeness_costs_precision() -> None:
    real = normal(300, 4, 0)
    collapsed = precision_recall(real, normal(300, 4, 1, scale=0.05))
    assert collapsed["precision"] > 0.95
    assert collapsed["recall"] < 0.1
    strange = precision_recall(real, normal(300, 4, 2, scale=5.0))
    assert strange["precision"] < 0.3


def test_the_interval_covers_the_true_difference_as_often_as_it_says() -> None:
    prompt, covered = np.repeat(np.arange(20), 30), 0
    random = np.random.default_rng(0)
    for trial in range(100):
        by_prompt = random.normal(0.2, 0.1, 20)
        values = by_prompt[prompt] + random.normal(0, 0.5, len(prompt))
        found = paired_interval(values, prompt, 300, seed=trial)
        covered += found["low"] <= 0.2 <= found["high"]
    assert 85 <= covered <= 100


def verdict_of(low: float, kid: float = 0.0, fd: float = 1.0, **figures: float) -> Any:
    difference = {
        "judge_log_probability": {"mean": low + 0.1, "low": low, "high": low + 0.2},
        "kid_judge": {"mean": kid - 0.01, "low": kid - 0.02, "high": kid},
        "fd_judge": {"mean": fd - 0.1, "low": fd - 0.2, "high": fd},
    }
    return decide(
        Evaluation(),
        against="base",
        num_evaluations=4,
        against_evaluations=4,
        difference=difference,
        incumbent=GOOD,
        candidate=GOOD | figures,
    )


@pytest.mark.parametrize(
    ("low", "kid", "fd", "figures", "failed"),
    [
        (0.01, 0.0, 1.0, {}, []),
        (0.0, 0.0, 1.0, {}, ["judge_difference"]),
        (0.01, 0.01, 1.25, {}, []),
        (0.01, 0.011, 1.0, {}, ["kid_judge"]),
        (0.01, 0.0, 1.26, {}, ["fd_judge"]),
        (0.01, 0.0, 1.0, {"recall": 0.86}, ["recall"]),
        (0.01, 0.0, 1.0, {"diversity": 0.26}, ["diversity"]),
        (-1.0, math.nan, math.nan, {}, ["judge_difference", "kid_judge", "fd_judge"]),
    ],
)
def test_the_gate_names_the_criterion_that_fails(
    low: float, kid: float, fd: float, figures: dict[str, float], failed: list[str]
) -> None:
    verdict = verdict_of(low, kid, fd, **figures)
    assert verdict.failed == failed
    assert verdict.verdict == ("reject" if failed else "promote")


def test_equal_data_draw_equal_charts() -> None:
    lines = [Line("one", [1, 2, 4], [3.0, 2.0, 1.0], COLOURS["base"])]
    chart = line_chart("title", "x", lines, levels={"real": 0.5}, log_x=True)
    assert chart == line_chart("title", "x", lines, levels={"real": 0.5}, log_x=True)
    assert "currentColor" in chart
    assert chart.startswith("<svg")


def test_a_contact_sheet_has_a_cell_for_each_image() -> None:
    from io import BytesIO

    from PIL import Image

    for channels, mode in ((1, "L"), (3, "RGB")):
        sheet = Image.open(BytesIO(contact_sheet(torch.ones(5, channels, 4, 6), num_columns=3, scale=2)))
        assert (sheet.mode, sheet.size) == (mode, (2 * (3 * 7 - 1), 2 * (2 * 5 - 1)))
        assert sheet.convert("L").getpixel((0, 0)) == 255


def test_the_same_seeds_are_chosen_for_each_prompt() -> None:
    prompt = torch.tensor([0, 0, 0, 1, 1, 1])
    assert first_of_each(prompt, 2, 10).tolist() == [0, 1, 3, 4]
    assert first_of_each(prompt, 2, 1).tolist() == [0, 1]


def measurer(num_prompts: int = 2) -> Measurer:
    torch.manual_seed(0)
    judge, reward = (
        make_judge((1, 4, 4), num_prompts).eval(),
        PreferenceNetwork((1, 4, 4), num_prompts).eval(),
    )
    return Measurer(judge, reward, torch.randn(20, 64), num_prompts, torch.device("cpu"))


def test_figures_do_not_depend_on_the_parts_that_samples_come_in() -> None:
    x, prompt = torch.randn(60, 1, 4, 4, generator=torch.Generator().manual_seed(1)), torch.arange(60) % 2
    shown = torch.tensor([3, 17, 18, 59])
    whole = measurer().measure([(x, prompt)], shown)
    parts = measurer().measure(zip(x.split(7), prompt.split(7), strict=True), shown)
    assert parts.figures == pytest.approx(whole.figures, rel=1e-5)
    torch.testing.assert_close(parts.log_probability, whole.log_probability)
    assert torch.equal(parts.shown, x[shown])
    order = whole.log_probability.argsort(stable=True)
    assert torch.equal(whole.worst, x[order[:32]])
    expected = torch.stack([x[prompt == p].std(0, correction=0).mean() for p in (0, 1)]).mean()
    assert whole.figures["diversity"] == pytest.approx(float(expected), rel=1e-5)


def test_samples_that_are_not_finite_are_rejected_and_the_verdict_can_be_read_again() -> None:
    x, prompt = torch.randn(20, 1, 4, 4), torch.arange(20) % 2
    assert set(measurer().measure([(x, prompt)]).figures) == set(FIGURES)
    x[3, 0, 1, 1] = math.inf
    figures = measurer().measure([(x, prompt)]).figures
    assert all(math.isnan(value) for value in figures.values())
    verdict = verdict_of(math.nan, math.nan, math.nan, **figures)
    assert verdict.failed == ["judge_difference", "kid_judge", "fd_judge", "recall", "diversity"]
    again = Verdict.model_validate_json(verdict.model_dump_json())
    assert math.isnan(again.criteria[1].figure)
    told: dict[str, Any] = {"evaluation": "e", "incumbent": None, "verdict": {}, "figures": figures}
    rejection = Rejection(name="x", candidate="c", **told)
    assert math.isnan(Rejection.model_validate_json(rejection.model_dump_json()).figures["recall"])
