"""The report: one HTML file that needs nothing else, for people who were not there, and a picture of
samples.

It says what this evaluation depends on and no more: no date, host or run, nor the name that the model is to
get. The same evaluation gives the same bytes, whichever run it is part of.
"""

from __future__ import annotations

import base64
import itertools
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from flowmap.data.dataset import Split
from flowmap.data.facts import DataFacts
from flowmap.evaluation.charts import COLOURS, Line, line_chart
from flowmap.evaluation.measure import Measured
from flowmap.evaluation.shown import SIDE_PX, first_of_each, made_small, num_shown, shown_indices, some_of
from flowmap.evaluation.trained_on import NAME as TRAINED_ON
from flowmap.evaluation.wording import columns_of, sentence
from flowmap.modality import pictures
from flowmap.page import END_OF_REPORT, TOP_OF_REPORT, render
from flowmap.registry.evaluation_result import REPORT, SAMPLES, Verdict

_TEMPLATE = Path(__file__).with_name(REPORT)
_SHOWN = ("base", "anchor", "incumbent", "tuned", "baseline")
_REWARD_COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
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
_MAX_PICTURED = 10
_SHEET_WIDTH_PX = 260


@dataclass(frozen=True)
class Report:
    """Everything the report shows.

    Attributes:
        metrics: what `metrics.json` holds.
        models: each model by number of map evaluations, with the samples at `shown_indices`.
        prompt: of each sample, (N,).
        held_out: what samples are compared with, real data or the baseline's.
        training: GRPO's figures, one row a rollout; outcome: how many, which is shipped, what it warned of.
        grpo: the settings it was trained with.
    """

    facts: DataFacts
    metrics: dict[str, Any]
    verdict: Verdict
    models: Mapping[str, Mapping[int, Measured]]
    prompt: Tensor
    held_out: Split
    training: list[dict[str, float]]
    outcome: dict[str, Any]
    grpo: dict[str, Any]

    @property
    def reference(self) -> str:
        """What samples are compared with."""
        return "reference" if self.facts.prompts_alone else "real"

    @property
    def shown_prompt(self) -> Tensor:
        """The prompt of each sample that is shown."""
        return self.prompt[shown_indices(self.prompt, self.facts.shape)]


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
        quality=_quality_charts(report),
        training=_training_charts(report),
        outcome=report.outcome,
        controls=_control_chart(report),
        trained_on=report.metrics["models"].get(TRAINED_ON),
        relative=_differences(report),
        columns=columns_of(report.facts, report.metrics.get("frechet")),
        reference=report.reference,
        trained_on_rewards=_names_of(report.grpo["rewards"]),
        top_of_report=TOP_OF_REPORT,
        end_of_report=END_OF_REPORT,
    )
    (directory / REPORT).write_text(page)
    (directory / SAMPLES).write_bytes(marked)


def _rows(report: Report) -> tuple[dict[str, Tensor], list[str], dict[str, Tensor]]:
    """Two samples of each of ten prompts: every model at one evaluation and on the trained grid, and real
    data; the prompts, and which samples show theirs."""
    trained, rows, right = report.verdict.num_evaluations, {}, {}
    prompts = some_of(report.shown_prompt, _MAX_PICTURED)
    chosen = first_of_each(report.shown_prompt, 2, prompts)
    for count in sorted({min(report.models["tuned"]), trained}):
        for name in ("baseline", "base", "tuned"):
            label, measured = f"{name}, {count} evaluation{'s' * (count > 1)}", report.models[name][count]
            rows[label], right[label] = measured.shown[chosen], measured.shown_right[chosen]
    held = report.held_out
    real = made_small(held.data[first_of_each(held.prompts, 2, prompts)], SIDE_PX)
    if report.facts.context is not None:  # one thing came each time
        real = real.repeat_interleave(2, 0)
    if len(real) == len(chosen):  # a prompt may have fewer than two real ones held out
        rows[report.reference] = real
    return rows, [report.facts.prompts[each] for each in report.shown_prompt[chosen].tolist()], right


def _interval(values: Mapping[str, float], sign: str = "+") -> str:
    mean, low, high = (f"{values[key]:{sign}.4f}" for key in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def _pictures(report: Report) -> dict[int, dict[str, dict[str, Any]]]:
    counts = sorted(report.models["tuned"])
    names = [name for name in _SHOWN if name in report.models]
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


def _extra_pictures(report: Report) -> dict[str, dict[str, Any]]:
    held = report.held_out
    num_prompts, num_seeds = num_shown(report.facts.shape)
    real = held.data[first_of_each(held.prompts, num_seeds, some_of(held.prompts, num_prompts))]
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


def _sheet(report: Report, x: Tensor, alt: str) -> dict[str, Any]:
    """A picture for the page; the browser scales its few pixels up."""
    png = pictures(report.facts.modality).contact_sheet(x, num_shown(report.facts.shape)[1])
    (width,) = struct.unpack(">I", png[16:20])
    scale = max(1, round(_SHEET_WIDTH_PX / width))
    return {"source": _embedded(png), "width": width * scale, "alt": alt}


def _embedded(png: bytes) -> str:
    """A picture that travels inside the page."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


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
        charts.append(
            line_chart(
                title, "map evaluations a sample", lines, levels={report.reference: real[key]}, log_x=True
            )
        )
    return charts


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


def _control_chart(report: Report) -> str:
    """The judge's score against the spread of samples: what less start noise buys, what training did."""
    controls, count = report.metrics["controls"], str(report.verdict.num_evaluations)
    lines = [
        Line(
            f"{name}, less noise",
            [row["diversity"] for row in rows],
            [row["judge_score"] for row in rows],
            COLOURS[name],
        )
        for name, rows in controls["noise_scale"].items()
    ]
    tuned, best = report.metrics["models"]["tuned"][count], controls["best_of"]
    points = [
        ("tuned", tuned, COLOURS["tuned"]),
        (f"base, best of {best['num']}", best, COLOURS["baseline"]),
    ]
    if trained_on := report.metrics["models"].get(TRAINED_ON):
        points.append((TRAINED_ON, trained_on[count], COLOURS["incumbent"]))
    lines += [Line(name, [row["diversity"]], [row["judge_score"]], colour) for name, row, colour in points]
    return line_chart(
        "Judge's score against diversity",
        "spread of samples within a prompt",
        lines,
        levels={report.reference: report.metrics["real"]["judge_score"]},
    )


def _names_of(rewards: list[dict[str, Any]]) -> list[str]:
    return [reward.get("name") or reward["kind"] for reward in rewards]


def _training_charts(report: Report) -> list[str]:
    rows, curve = report.training, report.metrics["curve"]
    rollouts = [row["rollout"] for row in rows]
    start = report.metrics["models"]["base"][str(report.verdict.num_evaluations)]
    target = report.grpo.get("kl_target")
    names = _names_of(report.grpo["rewards"])

    def trained(key: str, title: str, levels: dict[str, float] | None = None) -> str:
        line = Line(key.replace("_", " "), rollouts, [row[key] for row in rows], COLOURS["tuned"])
        return line_chart(title, "rollouts", [line], levels=levels)

    def of_rewards(figure: str, title: str) -> str:
        lines = [
            Line(name, rollouts, [row[f"{figure}_{name}"] for row in rows], colour)
            for name, colour in zip(names, itertools.cycle(_REWARD_COLOURS))
        ]
        return line_chart(title, "rollouts", lines)

    def judged(key: str, title: str, real: float) -> str:
        points = [(0, start[key]), *((row["rollout"], row[key]) for row in curve)]
        line = Line("snapshots", [x for x, _ in points], [y for _, y in points], COLOURS["base"])
        return line_chart(title, "rollouts", [line], levels={report.reference: real})

    real = report.metrics["real"]
    opinion = "Judge's reward" if report.facts.prompts_alone else "Judge's log-probability"
    return [
        *(trained(f"reward_{name}", f"Reward in training: {name}") for name in names),
        of_rewards("spread", "Spread of each reward within a group"),
        of_rewards("correlation", "Correlation of each reward with the advantage"),
        trained("kl", "KL to the base, nats a transition", {"target": target} if target else None),
        trained("clipped", "Share of clipped ratios"),
        judged("judge_log_probability", opinion, real["judge_log_probability"]),
        judged("fd_judge", "Frechet distance", real["fd_judge"]),
    ]
