"""The curves of a report, as SVG: quality against cost, against what could be had without training, and how
training went."""

from __future__ import annotations

import itertools
from typing import Any

from flowmap.evaluation.charts import COLOURS, Line, line_chart
from flowmap.evaluation.reported import Report
from flowmap.evaluation.trained_on import NAME as TRAINED_ON

SHOWN = ("base", "anchor", "incumbent", "tuned", "baseline")
_REWARD_COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def quality_charts(report: Report) -> list[str]:
    models, real = report.metrics["models"], report.metrics["real"]
    titles = {
        "fd_judge": "Frechet distance (lower is better)",
        "judge_accuracy": "Judge accuracy",
        "recall": "Recall (higher is better)",
    }
    charts = []
    for key, title in titles.items():
        lines = []
        for name in SHOWN:
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


def control_chart(report: Report) -> str:
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


def training_charts(report: Report) -> list[str]:
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
