"""The report in a real browser."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from playwright.sync_api import Page

from flowmap.data.dataset import Split
from flowmap.data.facts import DataFacts
from flowmap.evaluation.advice import advice
from flowmap.evaluation.gate import decide
from flowmap.evaluation.measure import FIGURES, Measured
from flowmap.evaluation.moments import Moments
from flowmap.evaluation.report import write_report
from flowmap.evaluation.reported import Report
from flowmap.settings import Evaluation
from tests.browser import stands_alone_and_fits

RATHER_GOOD = dict.fromkeys(FIGURES, 0.9) | {"fd_judge": 12.0, "kid_judge": 0.01, "judge_score": -0.3}
SPLITS = {"base": 50, "reward": 20, "judge": 15, "holdout": 14}
INTERVAL = {"mean": 0.0, "low": -0.005, "high": 0.005}
_DIFFERENCES = (
    "judge_score",
    "above_noise_scale",
    "judge_accuracy",
    "reward",
    "kid_judge",
    "fd_judge",
    "recall",
    "coverage",
    "diversity",
    "copies",
)


def scored(gain: float) -> dict[str, Any]:
    interval = {"mean": gain, "low": gain - 0.05, "high": gain + 0.05}
    return {"means": {"tuned": 0.5 + gain, "anchor": 0.5}, "difference": interval, "spread": 0.3}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with made-up figures for prompts that would break careless HTML."""
    folder, prompts = tmp_path_factory.mktemp("report"), ("<b>bold</b>", "zwölf", "x" * 80)
    generator = torch.Generator().manual_seed(0)
    prompt = torch.arange(3).repeat_interleave(8)

    def draw() -> torch.Tensor:
        return torch.rand(24, 3, 8, 8, generator=generator) * 2 - 1

    counts, models = (1, 2, 4, 8), ("base", "anchor", "incumbent", "tuned", "raw", "baseline")
    difference = dict.fromkeys(_DIFFERENCES, INTERVAL) | {
        "recall": {"mean": -0.3, "low": -0.4, "high": -0.2}
    }
    verdict = decide(
        Evaluation(),
        against="incumbent",
        trial=3,
        num_evaluations=4,
        against_evaluations=4,
        difference=difference,
        judge_on_real=0.95,
        judge_on_anchor=0.9,
        num_real=14,
        diversity_of_real=1.0,
    )
    verdict = verdict.model_copy(
        update={"advice": advice(verdict, difference, RATHER_GOOD, RATHER_GOOD, [{"kl": 1.0}])}
    )
    curve = [{"scale": scale, **RATHER_GOOD, "diversity": scale} for scale in (1.0, 0.9, 0.8)]
    metrics: dict[str, Any] = {
        "trained_grid": (1.0, 0.683, 0.367, 0.05, 0.0),
        "anchor": "a" * 64,
        "models": {name: {str(count): RATHER_GOOD for count in counts} for name in models},
        "difference": difference,
        "real": RATHER_GOOD | {"calibration_error": 0.02},
        "accuracy_by_prompt": {prompt: {"base": 0.9, "tuned": 0.9, "real": None} for prompt in prompts},
        "controls": {
            "noise_scale": {"base": curve, "incumbent": curve},
            "best_of": {"num": 4, "chosen_by": "preference", "evaluations": 16, **RATHER_GOOD},
        },
        "curve": [{"rollout": rollout, **RATHER_GOOD} for rollout in (10, 20)],
        "rewards_paid": {"edges": scored(0.1)},
        "rewards": {"clip": scored(-0.2)},
    }
    facts = DataFacts(
        modality="images",
        prompts=prompts,
        shape=(3, 8, 8),
        num_read=100,
        num_duplicates=1,
        splits=SPLITS,
        counts=dict.fromkeys(prompts, SPLITS),
        expectations=({"expectation": "x", "column": "y", "num_rows": 99},),
    )
    rewards = [{"kind": "preference"}, {"kind": "python", "name": "edges"}]
    told = {
        f"{figure}_{name}": 0.5
        for figure in ("reward", "spread", "correlation")
        for name in ("preference", "edges")
    }
    training = [{"rollout": r, "kl": 0.2, "clipped": 0.1, **told} for r in range(1, 30)]
    no_scores = torch.zeros(24)

    def measured_once() -> Measured:
        return Measured(
            figures=RATHER_GOOD,
            features=no_scores[:, None],
            right=no_scores > 0,
            told=no_scores.long(),
            score=no_scores,
            reward=no_scores,
            copied=no_scores > 0,
            reach=None,
            moments=Moments(np.zeros((20, 3)), np.zeros((20, 3)), np.zeros((20, 3, 2))),
            shown=draw(),
            shown_right=no_scores > 0,
            worst=draw(),
            shown_met=[{"1 of ears": True, "colour: <i>red</i>": False}] * 24,
        )

    measured = {name: {count: measured_once() for count in counts} for name in models}
    report = Report(
        facts=facts,
        metrics=metrics,
        verdict=verdict,
        models=measured,
        prompt=prompt,
        held_out=Split(draw(), prompt),
        training=training,
        outcome={
            "rollouts": 40,
            "shipped_rollout": 25,
            "warnings": {"clipped": {"rollout": 12, "message": "84% of the ratios are clipped"}},
        },
        grpo={"rewards": rewards, "kl_target": 0.25},
    )
    write_report(folder, report)
    unpaid = folder / "unpaid"
    unpaid.mkdir()
    write_report(unpaid, replace(report, metrics={**metrics, "rewards_paid": {}}))
    return folder / "report.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1200])
def test_the_report_stands_alone_and_fits(report: Path, page: Page, width: int, scheme: Any) -> None:
    stands_alone_and_fits(page, report, width, scheme)
    assert page.locator("h1").inner_text().upper() == "REJECTED"
    assert "recall" in page.locator("h1 + p").inner_text()


def test_a_prompt_without_held_out_data_has_no_share_of_them(report: Path, page: Page) -> None:
    page.goto(report.as_uri())
    rows = page.get_by_role("region", name="How often samples are as asked, by prompt").locator("tbody tr")
    assert rows.first.inner_text().split()[-3:] == ["90%", "90%", "–"]


def test_what_comes_from_outside_is_text_and_no_markup(report: Path) -> None:
    assert "<b>bold</b>" not in report.read_text()


def test_what_training_warned_of_and_what_is_shipped_is_said(report: Path) -> None:
    told = report.read_text()
    assert "Shipped is the average of the weights as it was after rollout 25 of 40" in told
    assert "From rollout 12: 84% of the ratios are clipped." in told


def test_rewards_that_were_paid_stand_beside_those_that_were_not(report: Path, page: Page) -> None:
    page.goto(report.as_uri())
    paid = page.get_by_role("region", name="Rewards that GRPO was paid by").locator("tbody tr")
    assert paid.all_inner_texts() == ["edges\t0.6\t0.5\t+0.1000 [+0.0500, +0.1500]\t0.3"]
    other = page.get_by_role("region", name="Rewards that are only evaluated").locator("tbody tr")
    assert other.first.inner_text().startswith("clip\t0.3\t0.5\t-0.2000")
    last = page.get_by_role("region", name="The gate's criteria").locator("tbody tr").last.inner_text()
    assert last.startswith("paid: edges\t0.05\t")
    assert "decides nothing" in last


def test_rewards_that_are_only_evaluated_stand_there_alone_too(report: Path, page: Page) -> None:
    """As of forecasts, or where a service that paid is gone."""
    page.goto((report.parent / "unpaid" / "report.html").as_uri())
    other = page.get_by_role("region", name="Rewards that are only evaluated").locator("tbody tr")
    assert other.first.inner_text().startswith("clip\t")
    assert page.get_by_role("region", name="Rewards that GRPO was paid by").count() == 0


def test_samples_stand_beside_each_other_with_what_is_there_of_their_captions(
    report: Path, page: Page
) -> None:
    page.goto(report.as_uri())
    rows = page.get_by_role("region", name="Samples with their captions").locator("tbody tr")
    assert rows.count() == 3
    first = rows.first
    assert first.locator("img").count() == 3  # base, incumbent and candidate
    box = first.locator("img").first.bounding_box()
    assert box is not None
    assert box["width"] == pytest.approx(box["height"], rel=0.05)  # the sample alone, and no empty places
    assert box["width"] > 60
    assert first.locator(".good").first.inner_text() == "✓ 1 of ears"
    assert first.locator(".bad").first.inner_text() == "✗ colour: <i>red</i>"
