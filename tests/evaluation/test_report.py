"""The report in a real browser."""

from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Page

from flowmap.config import Evaluation, RunConfig
from flowmap.data.dataset import DataFacts, Split
from flowmap.evaluation.gate import decide
from flowmap.evaluation.report import Report, write_report
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
        difference=INTERVAL,
        incumbent=FIGURES,
        candidate=FIGURES | {"recall": 0.1},
    )
    metrics: dict[str, Any] = {
        "trained_grid": (1.0, 0.683, 0.367, 0.05, 0.0),
        "models": {name: {str(count): FIGURES for count in counts} for name in models},
        "difference": {"judge_log_probability": INTERVAL, "reward": INTERVAL},
        "real": FIGURES,
        "curve": [{"rollout": rollout, **FIGURES} for rollout in (10, 20)],
    }
    facts = DataFacts(
        prompts=prompts,
        shape=(3, 8, 8),
        num_read=100,
        num_duplicates=1,
        splits=SPLITS,
        counts=dict.fromkeys(prompts, SPLITS),
        expectations=({"expectation": "x", "column": "y", "num_rows": 99},),
    )
    training = [{"rollout": r, "reward": -1.0 / r, "kl": 0.2, "clipped": 0.1} for r in range(1, 30)]
    samples = {name: {count: draw() for count in counts} for name in models}
    held_out = Split(draw(), prompt)
    config = RunConfig(name="report")
    write_report(
        folder,
        Report(config, facts, metrics, verdict, samples, prompt, held_out, training, torch.arange(24)),
    )
    return folder / "report.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1200])
def test_the_report_stands_alone_and_fits(report: Path, page: Page, width: int, scheme: Any) -> None:
    stands_alone_and_fits(page, report, width, scheme)
    assert page.locator("h1").inner_text().upper() == "REJECTED"
    assert "recall" in page.locator("h1 + p").inner_text()


def test_what_comes_from_outside_is_text_and_no_markup(report: Path) -> None:
    assert "<b>bold</b>" not in report.read_text()
