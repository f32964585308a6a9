"""The same configuration with several seeds: mean and range of every figure, how many were promoted, and one
plot.

    make bench-seeds EXAMPLE=mnist SEEDS=5

Seed k is the seed of every step that trains; the split of the data stays, and with it the judge. Each is
a model of its own, `<name>-<k>`, so that it is judged against its own base and not against the seed before
it. Finished steps are reused: an interrupted series goes on. Other settings want another root, or they
are held against what was promoted with those before.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flowmap.evaluation.charts import COLOURS
from flowmap.settings import load_config

_SEEDED = ("base_training", "reward_training", "grpo_finetuning")
_COLUMNS = {
    "judge_accuracy": ("judge accuracy", 3),
    "fd_judge": ("Frechet distance", 1),
    "kid_judge": ("KID", 4),
    "recall": ("recall", 2),
    "diversity": ("diversity", 3),
}
_COMPARED = {
    "judge_accuracy": "judge accuracy, tuned less base",
    "kid_judge": "KID, tuned less base",
    "fd_judge": "Frechet distance, tuned over base",
    "recall": "recall, tuned less base",
    "diversity": "diversity, tuned over base",
}
_PARTS = ("set", "attribute")
_SHOWN = (
    ("base", (1, 2, 4)),
    ("base trained on", (4,)),
    ("tuned", (1, 2, 4)),
    ("baseline", (1, 2, 4, 10, 20, 50)),
    ("baseline, Heun", (2, 4, 10, 20, 50)),
)
_PROMOTED_OR_REJECTED = (0, 3)


def run_seed(config: Path, name: str, seed: int, root: Path, tried: Sequence[str] = ()) -> dict[str, Any]:
    """One whole run, with these settings for those in the file; returns what `flowmap run --json` says."""
    sets = [f"name={name}-{seed}", *(f"{section}.seed={seed}" for section in _SEEDED), *tried]
    command = [
        sys.executable,
        "-m",
        "flowmap_pipelines.cli",
        "run",
        str(config),
        "--root",
        str(root),
        "--json",
    ]
    for each in sets:
        command += ["--set", each]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in _PROMOTED_OR_REJECTED:
        sys.exit(done.returncode)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def values_of(outcomes: list[dict[str, Any]], model: str, count: int, key: str) -> list[float]:
    return [outcome["metrics"]["models"][model][str(count)][key] for outcome in outcomes]


def table(outcomes: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown: mean and range over the seeds."""
    yield "| model | evaluations | " + " | ".join(title for title, _ in _COLUMNS.values()) + " |"
    yield "| --- | ---: |" + " ---: |" * len(_COLUMNS)
    for model, counts in _SHOWN:
        for count in _measured(outcomes, model, counts):
            cells = [
                mean_and_range(values_of(outcomes, model, count, key), digits)
                for key, (_, digits) in _COLUMNS.items()
            ]
            yield f"| {model} | {count} | " + " | ".join(cells) + " |"
    for name, rows in (
        ("base, best of 4 by the reward", [o["metrics"]["controls"]["best_of"] for o in outcomes]),
        ("real", [o["metrics"]["real"] for o in outcomes]),
    ):
        cells = [mean_and_range([row[key] for row in rows], digits) for key, (_, digits) in _COLUMNS.items()]
        cost = rows[0].get("evaluations", "–")
        yield f"| {name} | {cost} | " + " | ".join(cells) + " |"


def _measured(outcomes: list[dict[str, Any]], model: str, counts: Sequence[int]) -> list[int]:
    """Those numbers of map evaluations that the runs have figures of."""
    return [count for count in counts if str(count) in outcomes[0]["metrics"]["models"].get(model, {})]


def by_set(outcomes: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown: how often prompts are drawn as asked, by what training has seen, and by what they demand."""
    tables = [outcome["metrics"].get(f"accuracy_by_{kind}", {}) for kind in _PARTS for outcome in outcomes]
    if not any(tables):
        return
    columns = ("base", "tuned", "baseline", "real")
    yield "| | " + " | ".join(columns) + " |"
    yield "| --- |" + " ---: |" * len(columns)
    for kind in _PARTS:
        rows = [outcome["metrics"].get(f"accuracy_by_{kind}", {}) for outcome in outcomes]
        for name in rows[0]:
            cells = [mean_and_range([row[name][column] for row in rows], 3) for column in columns]
            yield f"| {name} | " + " | ".join(cells) + " |"


def mean_and_range(values: list[float], digits: int) -> str:
    return f"{statistics.mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def told(outcomes: list[dict[str, Any]]) -> Iterator[str]:
    """How many were promoted, with what gains and losses, as the gate saw them on noise of its own."""
    promoted = sum(outcome["version"] is not None for outcome in outcomes)
    yield f"Promoted: {promoted} of {len(outcomes)}."
    for key, words in _COMPARED.items():
        each = [outcome["metrics"]["difference"][key] for outcome in outcomes]
        listed = ", ".join(f"{one['mean']:.3f} [{one['low']:.3f}, {one['high']:.3f}]" for one in each)
        yield f"- {words}: {listed}"
    yield "Seed by seed:"
    for key, ratio in (("fd_judge", True), ("recall", False), ("judge_accuracy", False)):
        tuned = values_of(outcomes, "tuned", 4, key)
        for name in (_measured(outcomes, "baseline", (20, 50))[-1], 4):
            pairs = zip(tuned, values_of(outcomes, "baseline", name, key), strict=True)
            compared = [one / two if ratio else one - two for one, two in pairs]
            sign = "x" if ratio else "difference "
            yield (
                f"- {_COLUMNS[key][0]}, tuned at 4 against the baseline at {name}: "
                f"{sign}{mean_and_range(compared, 3)}"
            )
    for outcome in outcomes:
        if outcome["version"] is None:
            failed = [c["name"] for c in outcome["verdict"]["criteria"] if not c["passed"]]
            yield f"{outcome['name']} was rejected for {', '.join(failed)}."


def plot(outcomes: list[dict[str, Any]], title: str, path: Path) -> None:
    """Judge accuracy and Frechet distance against map evaluations: the mean over the seeds as a line, their
    range as a band."""
    figure = Figure(figsize=(9.6, 3.8), layout="constrained", dpi=130)
    accuracy, distance = figure.subplots(1, 2)
    _panel(accuracy, outcomes, "judge_accuracy", "judge accuracy")
    _panel(distance, outcomes, "fd_judge", "Frechet distance")
    distance.set_yscale("log")
    low, high = distance.get_ylim()
    levels = [level for level in (5, 10, 20, 50, 100, 200, 500, 1000) if low <= level <= high]
    distance.set_yticks(levels, [str(level) for level in levels])
    distance.minorticks_off()
    accuracy.legend(frameon=False)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path)


def _panel(axes: Axes, outcomes: list[dict[str, Any]], key: str, words: str) -> None:
    ticks: set[int] = set()
    for model in ("baseline", "base", "tuned"):
        counts = sorted(map(int, outcomes[0]["metrics"]["models"][model]))
        values = [values_of(outcomes, model, count, key) for count in counts]
        means = [statistics.mean(each) for each in values]
        axes.plot(counts, means, marker="o", label=model, color=COLOURS[model])
        low, high = [min(each) for each in values], [max(each) for each in values]
        axes.fill_between(counts, low, high, color=COLOURS[model], alpha=0.2)
        ticks |= set(counts)
    real = statistics.mean(outcome["metrics"]["real"][key] for outcome in outcomes)
    axes.axhline(real, color=COLOURS["real"], linestyle=":", label="real data")
    axes.set(xscale="log", xlabel="map evaluations a sample", ylabel=words)
    axes.set_xticks(sorted(ticks), [str(tick) for tick in sorted(ticks)])
    axes.minorticks_off()
    axes.grid(alpha=0.25)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 1 on")
    parser.add_argument("--root", type=Path, default=Path(".flowmap-seeds"))
    parser.add_argument("--plot", type=Path, help="a .png or .svg file")
    options = parser.parse_args()
    name = load_config(options.config).name
    outcomes = [run_seed(options.config, name, seed, options.root) for seed in range(1, options.seeds + 1)]
    print("\n".join([*table(outcomes), "", *by_set(outcomes), "", *told(outcomes)]))
    if options.plot:
        plot(outcomes, f"{name}, {len(outcomes)} seeds: mean and range", options.plot)


if __name__ == "__main__":
    main()
