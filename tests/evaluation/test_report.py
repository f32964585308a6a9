"""The report in a real browser."""

from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Page

from flowmap.data.dataset import Split
from flowmap.data.facts import DataFacts
from flowmap.evaluation.gate import decide
from flowmap.evaluation.measure import Measured
from flowmap.evaluation.report import Report, write_report
from flowmap.settings import Evaluation
from tests.browser import stands_alone_and_fits

FIGURES = {
    "judge_accuracy": 0.9,
    "judge_log_probability": -0.3,
    "fd_judge": 12.0,
    "kid_judge": 0.01,
    "precision": 0.9,
    "recall": 0.8,
    "density": 1.0,
    "coverage": 0.9,
    "diversity": 0.3,
    "reward": 1.0,
}
SPLITS = {"base": 50, "reward": 20, "judge": 15, "holdout": 14}
INTERVAL = {"mean": 0.1, "low": 0.05, "high": 0.2}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with made-up figures for prompts that would break careless HTML."""
    folder, prompts = tmp_path_factory.mktemp("report"), ("<b>bold</b>", "zwölf", "x" * 80)
    generator = torch.Generator().manual_seed(0)
    prompt = torch.arange(3).repeat_interleave(8)

    def draw() -> torch.Tensor:
        return torch.rand(24, 3, 8, 8, generator=generator) * 2 - 1

    counts, models = (1, 2, 4, 8), ("base", "incumbent", "tuned", "raw", "baseline")
    verdict = decide(
        Evaluation(),
        against="incumbent",
        num_evaluations=4,
        against_evaluations=4,
        difference=dict.fromkeys(("judge_log_probability", "kid_judge", "fd_judge"), INTERVAL),
        incumbent=FIGURES,
        candidate=FIGURES | {"recall": 0.1},
    )
    metrics: dict[str, Any] = {
        "trained_grid": (1.0, 0.683, 0.367, 0.05, 0.0),
        "models": {name: {str(count): FIGURES for count in counts} for name in models},
        "difference": dict.fromkeys(("judge_log_probability", "reward", "kid_judge", "fd_judge"), INTERVAL),
        "real": FIGURES,
        "curve": [{"rollout": rollout, **FIGURES} for rollout in (10, 20)],
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
    measured = {
        name: {
            count: Measured(FIGURES, no_scores[:, None], no_scores, no_scores, draw(), no_scores > 0, draw())
            for count in counts
        }
        for name in models
    }
    report = Report(
        facts=facts,
        metrics=metrics,
        verdict=verdict,
        models=measured,
        prompt=prompt,
        held_out=Split(draw(), prompt),
        training=training,
        grpo={"rewards": rewards, "kl_target": 0.25},
    )
    write_report(folder, report)
    return folder / "report.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1200])
def test_the_report_stands_alone_and_fits(report: Path, page: Page, width: int, scheme: Any) -> None:
    stands_alone_and_fits(page, report, width, scheme)
    assert page.locator("h1").inner_text().upper() == "REJECTED"
    assert "recall" in page.locator("h1 + p").inner_text()


def test_what_comes_from_outside_is_text_and_no_markup(report: Path) -> None:
    assert "<b>bold</b>" not in report.read_text()
