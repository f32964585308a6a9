"""The report: one HTML file that needs nothing else, for people who were not there, and a picture of samples.

It carries no date, host or run id: the same evaluation gives the same bytes.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from flowmap.config import RunConfig
from flowmap.data.dataset import DataFacts, Split
from flowmap.data.pictures import contact_sheet, prompts_by_seed
from flowmap.evaluated import REPORT, SAMPLES, Verdict
from flowmap.evaluation.charts import COLOURS, Line, labelled_rows, line_chart
from flowmap.page import END_OF_REPORT, render

_TEMPLATE = Path(__file__).with_name(REPORT)
_COLUMNS = {
    "judge_accuracy": "judge accuracy",
    "judge_log_probability": "log-probability",
    "fd_judge": "fd_judge",
    "kid_judge": "kid_judge",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "diversity": "diversity",
    "reward": "reward",
}
_SHOWN = ("base", "incumbent", "tuned", "baseline")
_MAX_PROMPTS = 20
_MAX_PICTURED = 10
_NUM_SEEDS = 8
_SHEET_WIDTH_PX = 260


@dataclass(frozen=True)
class Report:
    """Everything the report shows.

    Attributes:
        metrics: what `metrics.json` holds.
        samples: of each model, by number of map evaluations, (N, channels, height, width).
        prompt: of each sample, (N,).
        held_out: real images.
        training: GRPO's figures, one row a rollout.
        worst: indices of the candidate's samples that the judge gives the least probability, worst first.
    """

    config: RunConfig
    facts: DataFacts
    metrics: dict[str, Any]
    verdict: Verdict
    samples: Mapping[str, Mapping[int, Tensor]]
    prompt: Tensor
    held_out: Split
    training: list[dict[str, float]]
    worst: Tensor


def write_report(directory: Path, report: Report) -> None:
    page = render(
        _TEMPLATE,
        config=report.config,
        facts=report.facts,
        metrics=report.metrics,
        verdict=report.verdict,
        sentence=sentence(report),
        interval=_interval,
        pictures=_pictures(report),
        extra=_extra_pictures(report),
        quality=_quality_charts(report),
        training=_training_charts(report),
        columns=_COLUMNS,
        end_of_report=END_OF_REPORT,
        settings=yaml.safe_dump(report.config.model_dump(mode="json"), sort_keys=False),
    )
    (directory / REPORT).write_text(page)
    (directory / SAMPLES).write_bytes(labelled_rows(_rows(report)))


def _rows(report: Report) -> dict[str, Tensor]:
    """Two samples of each of ten prompts: every model at one evaluation and on the trained grid, and real images."""
    chosen = report.prompt < _MAX_PICTURED
    prompt, trained, rows = report.prompt[chosen], report.verdict.num_evaluations, {}
    for count in sorted({min(report.samples["tuned"]), trained}):
        for name in ("baseline", "base", "tuned"):
            x = report.samples[name][count][chosen]
            rows[f"{name}, {count} evaluation{'s' * (count > 1)}"] = prompts_by_seed(x, prompt, 2)
    held = report.held_out
    shown = held.prompts < _MAX_PICTURED
    real = prompts_by_seed(held.images[shown], held.prompts[shown], 2)
    if len(real) == len(next(iter(rows.values()))):  # a prompt may have fewer than two real images held out
        rows["real"] = real
    return rows


def sentence(report: Report) -> str:
    """The verdict in words, with the figures it turns on."""
    verdict, metrics = report.verdict, report.metrics
    count = str(verdict.num_evaluations)
    old, new = metrics["models"][verdict.against][count], metrics["models"]["tuned"][count]
    figures = (
        f"At {count} map evaluations the judge recognises the prompt in {new['judge_accuracy']:.1%} of the samples "
        f"({verdict.against}: {old['judge_accuracy']:.1%}); the Frechet distance to real images is "
        f"{new['fd_judge']:.2f} ({verdict.against}: {old['fd_judge']:.2f}, real against real: "
        f"{metrics['real']['fd_judge']:.2f})."
    )
    if verdict.verdict == "promote":
        return f"The candidate is better than the {verdict.against} and gives up nothing the gate watches. {figures}"
    return f"The candidate does not pass: {', '.join(verdict.failed)}. {figures}"


def _interval(values: Mapping[str, float]) -> str:
    return f"{values['mean']:+.4f} [{values['low']:+.4f}, {values['high']:+.4f}]"


def _pictures(report: Report) -> dict[int, dict[str, dict[str, Any]]]:
    counts = sorted(report.samples["tuned"])
    names = [name for name in _SHOWN if name in report.samples]
    return {
        count: {
            name: _sheet(
                _first_prompts(report, report.samples[name][count]),
                f"Samples of {name} with {count} map evaluations, one row for each prompt",
            )
            for name in names
        }
        for count in counts
    }


def _extra_pictures(report: Report) -> dict[str, dict[str, Any]]:
    tuned = report.samples["tuned"][report.verdict.num_evaluations]
    order = report.held_out.prompts.argsort(stable=True)
    images, prompts = report.held_out.images[order], report.held_out.prompts[order]
    shown = prompts < _MAX_PROMPTS
    real = prompts_by_seed(images[shown], prompts[shown], _NUM_SEEDS)
    worst = tuned[report.worst[: _NUM_SEEDS * 4]]
    return {
        "real, held out": _sheet(real, "Real images, prompt after prompt"),
        "tuned, least probable first": _sheet(worst, "The candidate's samples with the lowest judge probability"),
    }


def _first_prompts(report: Report, x: Tensor) -> Tensor:
    shown = report.prompt < _MAX_PROMPTS
    return prompts_by_seed(x[shown], report.prompt[shown], _NUM_SEEDS)


def _sheet(x: Tensor, alt: str) -> dict[str, Any]:
    """An image for the page; the browser scales its few pixels up."""
    png = contact_sheet(x, _NUM_SEEDS)
    (width,) = struct.unpack(">I", png[16:20])
    scale = max(1, round(_SHEET_WIDTH_PX / width))
    source = "data:image/png;base64," + base64.b64encode(png).decode()
    return {"source": source, "width": width * scale, "alt": alt}


def _quality_charts(report: Report) -> list[str]:
    models, real = report.metrics["models"], report.metrics["real"]
    titles = {
        "fd_judge": "Frechet distance (lower is better)",
        "judge_accuracy": "Judge accuracy",
        "recall": "Recall (higher is better)",
    }
    charts = []
    for key, title in titles.items():
        lines = []
        for name in _SHOWN:
            if name in models:
                counts = sorted(models[name], key=int)
                values = [models[name][count][key] for count in counts]
                lines.append(Line(name, [int(count) for count in counts], values, COLOURS[name]))
        charts.append(line_chart(title, "map evaluations a sample", lines, levels={"real": real[key]}, log_x=True))
    return charts


def _training_charts(report: Report) -> list[str]:
    rows, curve = report.training, report.metrics["curve"]
    rollouts = [row["rollout"] for row in rows]
    start = report.metrics["models"]["base"][str(report.verdict.num_evaluations)]
    target = report.config.grpo_finetuning.kl_target

    def trained(key: str, title: str, levels: dict[str, float] | None = None) -> str:
        line = Line(key.replace("_", " "), rollouts, [row[key] for row in rows], COLOURS["tuned"])
        return line_chart(title, "rollouts", [line], levels=levels)

    def judged(key: str, title: str, real: float) -> str:
        points = [(0, start[key]), *((row["rollout"], row[key]) for row in curve)]
        line = Line("snapshots", [x for x, _ in points], [y for _, y in points], COLOURS["base"])
        return line_chart(title, "rollouts", [line], levels={"real": real})

    real = report.metrics["real"]
    return [
        trained("reward", "Reward in training"),
        trained("kl", "KL to the base, nats a transition", {"target": target} if target else None),
        trained("clipped", "Share of clipped ratios"),
        judged("judge_log_probability", "Judge's log-probability", real["judge_log_probability"]),
        judged("fd_judge", "Frechet distance", real["fd_judge"]),
    ]
