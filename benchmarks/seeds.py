"""The same configuration with several seeds: mean and range of every figure, how many were promoted, and one
plot.

    make bench-seeds EXAMPLE=mnist SEEDS=5

Seed k is the seed of every step that trains or draws; the split of the data stays. Each seed is a model of
its own, `<name>-<k>`, so that each is judged against its own base and not against the seed before it.
Finished steps are reused: an interrupted series goes on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from flowmap.evaluation.charts import COLOURS
from flowmap.settings import load_config

_SEEDED = ("base_training", "reward_training", "grpo_finetuning")
_COLUMNS = {
    "judge_accuracy": ("judge accuracy", 3),
    "judge_log_probability": ("log-probability", 3),
    "fd_judge": ("Frechet distance", 1),
    "precision": ("precision", 2),
    "recall": ("recall", 2),
}
_SHOWN = (("base", (1, 2, 4)), ("tuned", (1, 2, 4)), ("baseline", (1, 2, 4, 10, 50)))
_PROMOTED_OR_REJECTED = (0, 3)


def run_seed(config: Path, name: str, seed: int, root: Path) -> dict[str, Any]:
    """One whole run; returns what `flowmap run --json` says."""
    sets = [f"name={name}-{seed}", *(f"{section}.seed={seed}" for section in _SEEDED)]
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
        for count in counts:
            cells = [
                _cell(values_of(outcomes, model, count, key), digits)
                for key, (_, digits) in _COLUMNS.items()
            ]
            yield f"| {model} | {count} | " + " | ".join(cells) + " |"
    real = [
        _cell([o["metrics"]["real"][key] for o in outcomes], digits) for key, (_, digits) in _COLUMNS.items()
    ]
    yield "| real | – | " + " | ".join(real) + " |"


def _cell(values: list[float], digits: int) -> str:
    return f"{statistics.mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def told(outcomes: list[dict[str, Any]]) -> Iterator[str]:
    """How many were promoted, with what gain, and how long the steps' work took."""
    promoted = sum(outcome["version"] is not None for outcome in outcomes)
    gains = [outcome["metrics"]["difference"]["judge_log_probability"] for outcome in outcomes]
    yield f"Promoted: {promoted} of {len(outcomes)}."
    listed = ", ".join(f"{gain['mean']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]" for gain in gains)
    yield f"Gain of the judge's log-probability over the base, with its 95 % interval: {listed}."
    yield "Seed by seed, for each has a judge of its own:"
    for key, ratio in (("fd_judge", True), ("recall", False), ("judge_log_probability", False)):
        tuned, many, few = (
            values_of(outcomes, *at, key) for at in (("tuned", 4), ("baseline", 50), ("baseline", 4))
        )
        for name, other in (("50", many), ("4", few)):
            pairs = zip(tuned, other, strict=True)
            compared = [one / two if ratio else one - two for one, two in pairs]
            sign = "x" if ratio else "difference "
            yield (
                f"- {_COLUMNS[key][0]}, tuned at 4 against the baseline at {name}: "
                f"{sign}{_cell(compared, 3)}"
            )
    for outcome in outcomes:
        if outcome["version"] is None:
            failed = [c["name"] for c in outcome["verdict"]["criteria"] if not c["passed"]]
            yield f"{outcome['name']} was rejected for {', '.join(failed)}."


def plot(outcomes: list[dict[str, Any]], title: str, path: Path) -> None:
    """Frechet distance against map evaluations: the mean over the seeds as a line, their range as a band."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained", dpi=130)
    axes = figure.subplots()
    ticks: set[int] = set()
    for model in ("baseline", "base", "tuned"):
        counts = sorted(map(int, outcomes[0]["metrics"]["models"][model]))
        values = [values_of(outcomes, model, count, "fd_judge") for count in counts]
        axes.plot(
            counts, [statistics.mean(v) for v in values], marker="o", label=model, color=COLOURS[model]
        )
        axes.fill_between(
            counts, [min(v) for v in values], [max(v) for v in values], color=COLOURS[model], alpha=0.2
        )
        ticks |= set(counts)
    floor = statistics.mean(outcome["metrics"]["real"]["fd_judge"] for outcome in outcomes)
    axes.axhline(floor, color=COLOURS["real"], linestyle=":", label="real against real")
    axes.set(
        xscale="log", yscale="log", xlabel="map evaluations a sample", ylabel="Frechet distance", title=title
    )
    low, high = axes.get_ylim()
    levels = [level for level in (10, 20, 50, 100, 200, 500, 1000) if low <= level <= high]
    axes.set_yticks(levels, [str(level) for level in levels])
    axes.set_xticks(sorted(ticks), [str(tick) for tick in sorted(ticks)])
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(path)


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
    print("\n".join([*table(outcomes), "", *told(outcomes)]))
    if options.plot:
        plot(outcomes, f"{name}, {len(outcomes)} seeds: mean and range", options.plot)


if __name__ == "__main__":
    main()
