"""The report: one HTML file that needs nothing else, for people who were not there, and a picture of
samples.

It says what this evaluation depends on and no more: no date, host or run, nor the name that the model is to
get. The same evaluation gives the same bytes, whichever run it is part of.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from flowmap.evaluation.report_charts import SHOWN, control_chart, quality_charts, training_charts
from flowmap.evaluation.reported import Report
from flowmap.evaluation.shown import SIDE_PX, are_large, first_of_each, made_small, num_shown, some_of
from flowmap.evaluation.side_by_side import Shown, side_by_side
from flowmap.evaluation.trained_on import NAME as TRAINED_ON
from flowmap.evaluation.wording import columns_of, sentence
from flowmap.modality import pictures
from flowmap.page import END_OF_REPORT, TOP_OF_REPORT, render
from flowmap.registry.evaluation_result import REPORT, SAMPLES

_TEMPLATE = Path(__file__).with_name(REPORT)
_RELATIVE = {  # the differences that the gate turns on, in words, and whether they are ratios
    "judge_score": ("judge's score", False),
    "above_noise_scale": ("judge's score, less that with as little noise", False),
    "judge_accuracy": ("judge accuracy", False),
    "reward": ("reward", False),
    "kid_judge": ("kernel distance", False),
    "fd_judge": ("Frechet distance", True),
    "recall": ("recall", False),
    "coverage": ("coverage", False),
    "diversity": ("diversity", True),
    "copies": ("copies of training data", False),
}
_GAINS = 4  # of them are over the incumbent, the others against the anchor
_BESIDE = ("base", "incumbent", "tuned")
_MAX_PICTURED = 10
_SHEET_WIDTH_PX = 260


def write_report(directory: Path, report: Report) -> None:
    marked = pictures(report.facts.modality).labelled_rows(*_rows(report))
    page = render(
        _TEMPLATE,
        marked=_embedded(marked),
        facts=report.facts,
        metrics=report.metrics,
        verdict=report.verdict,
        sentence=sentence(report.facts, report.verdict, report.metrics),
        pictures=_pictures(report),
        extra=_extra_pictures(report),
        captioned=_captioned(report),
        quality=quality_charts(report),
        training=training_charts(report),
        outcome=report.outcome,
        controls=control_chart(report),
        trained_on=report.metrics["models"].get(TRAINED_ON),
        relative=_differences(report),
        columns=columns_of(report.facts, report.metrics.get("frechet")),
        reference=report.reference,
        top_of_report=TOP_OF_REPORT,
        end_of_report=END_OF_REPORT,
    )
    (directory / REPORT).write_text(page)
    (directory / SAMPLES).write_bytes(marked)


def _rows(report: Report) -> tuple[dict[str, Tensor], list[str], dict[str, Tensor]]:
    """Two samples of each of ten prompts, or one of large pictures: every model at one evaluation and on the
    trained grid, and real data; the prompts, and which samples show theirs."""
    trained, rows, right = report.verdict.num_evaluations, {}, {}
    prompts = some_of(report.shown_prompt, _MAX_PICTURED)
    num_each = 1 if are_large(report.facts.shape) else 2
    chosen = first_of_each(report.shown_prompt, num_each, prompts)
    for count in sorted({min(report.models["tuned"]), trained}):
        for name in ("baseline", "base", "tuned"):
            label, measured = f"{name}, {count} evaluation{'s' * (count > 1)}", report.models[name][count]
            rows[label], right[label] = measured.shown[chosen], measured.shown_right[chosen]
    held = report.held_out
    real = made_small(held.data[first_of_each(held.prompts, num_each, prompts)].float(), SIDE_PX)
    if report.facts.context is not None:  # one thing came each time
        real = real.repeat_interleave(num_each, 0)
    if len(real) == len(chosen):  # a prompt may have fewer than two real ones held out
        rows[report.reference] = real
    return rows, [report.facts.prompts[each] for each in report.shown_prompt[chosen].tolist()], right


def _interval(values: Mapping[str, float], sign: str = "+") -> str:
    mean, low, high = (f"{values[key]:{sign}.4f}" for key in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def _pictures(report: Report) -> dict[int, dict[str, dict[str, Any]]]:
    counts = sorted(report.models["tuned"])
    names = [name for name in SHOWN if name in report.models]
    return {
        count: {
            name: _sheet(
                report,
                report.models[name][count].shown,
                f"Samples of {name} with {count} map evaluations, one row for each prompt",
            )
            for name in names
        }
        for count in counts
    }


def _captioned(report: Report) -> dict[str, dict[str, tuple[dict[str, Any], Shown]]]:
    """Samples beside each other with their captions, and what of those is there."""
    count = report.verdict.num_evaluations
    names = [name for name in _BESIDE if count in report.models.get(name, {})]
    models = {name: report.models[name][count] for name in names}
    rows = side_by_side(models, report.prompt, report.facts, names)
    return {
        caption: {
            name: (_sheet(report, shown.picture, f"A sample of {name} for {caption}", 1), shown)
            for name, shown in row.items()
        }
        for caption, row in rows.items()
    }


def _extra_pictures(report: Report) -> dict[str, dict[str, Any]]:
    held = report.held_out
    num_prompts, num_seeds = num_shown(report.facts.shape)
    real = held.data[first_of_each(held.prompts, num_seeds, some_of(held.prompts, num_prompts))].float()
    worst = report.models["tuned"][report.verdict.num_evaluations].worst
    alone = report.facts.prompts_alone
    compared = "what the baseline draws with its most steps" if alone else "real, held out"
    return {
        compared: _sheet(
            report, made_small(real, SIDE_PX), "What samples are compared with, prompt after prompt"
        ),
        "tuned, least probable first": _sheet(
            report, worst, "The candidate's samples with the lowest judge probability"
        ),
    }


def _sheet(report: Report, x: Tensor, alt: str, num_columns: int | None = None) -> dict[str, Any]:
    """A picture for the page; the browser scales its few pixels up."""
    png = pictures(report.facts.modality).contact_sheet(x, num_columns or num_shown(report.facts.shape)[1])
    (width,) = struct.unpack(">I", png[16:20])
    scale = max(1, round(_SHEET_WIDTH_PX / width))
    return {"source": _embedded(png), "width": width * scale, "alt": alt}


def _embedded(png: bytes) -> str:
    """A picture that travels inside the page."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _differences(report: Report) -> list[tuple[str, str, str]]:
    """What the gate compared, against what, and the difference or ratio with its interval."""
    anchor = "anchor" if "anchor" in report.models else "base"
    return [
        (
            words + (", ratio" if is_ratio else ""),
            report.verdict.against if index < _GAINS else anchor,
            _interval(report.metrics["difference"][name], "" if is_ratio else "+"),
        )
        for index, (name, (words, is_ratio)) in enumerate(_RELATIVE.items())
        if name in report.metrics["difference"]
    ]
