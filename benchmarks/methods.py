"""Flow-Map GRPO beside its rivals, and beside itself with one setting changed.

    make bench-methods                                  # all methods on points, five seeds: half an hour
    make bench-methods ABLATE=kernel                    # Flow-Map GRPO with each of that setting's values

Every method starts from the same base (those of many steps from the baseline, trained in as many
seconds), sees the same rewards, takes batches of the same size and the same learning rate, and gets the
same seconds of one core. Each has one knob that buys reward with distance from the base, and three values
of it are tried (of an ablation the example's own). In the table stands the best of those whose KID, on
average over the seeds, the gate would let through: at most `evaluation.kid_tolerance` worse than the
base's.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from matplotlib.figure import Figure

from benchmarks import rivals
from benchmarks.gate import Bench, bench_of
from flowmap.data.dataset import CAPTION, read_split
from flowmap.evaluation.drawing import Drawing
from flowmap.models.storing import load_model
from flowmap.rewards.building import Materials, build_rewards
from flowmap.settings import AnyReward, ClassifierSettings, MmdSettings, load_config

_SEEDED = ("base_training", "reward_training")
_PARTS = (0.125, 0.25, 0.5, 1.0)  # of the seconds, when samples are measured
_COLUMNS = (
    "method",
    "knob",
    "map evaluations a sample",
    "accuracy after an eighth",
    "accuracy",
    "KID",
    "recall",
    "diversity",
    "million evaluations trained",
)
_COSTS = ("seconds", "trained")
_FIGURES = ("judge_accuracy", "kid_judge", "recall", "diversity")


@dataclass(frozen=True)
class Method:
    """A way to train, what its knob is tried at, and the map evaluations that a sample takes.

    Those follow from the knob, and from how many a sample of the map takes. `rewards` stand in the place of
    the example's.
    """

    name: str
    train: rivals.Rival
    knobs: tuple[float, ...]
    evaluations: Callable[[int, float], int]
    rewards: Sequence[AnyReward] | None = None


@dataclass(frozen=True)
class Point:
    """After so many seconds and evaluations of training, the figures of samples."""

    method: str
    knob: float
    seed: int
    part: float
    seconds: float
    trained: int
    rounds: int
    figures: Mapping[str, float]


def _few(num_few: int, knob: float) -> int:
    return num_few


def _as_changed(num_few: int, knob: float, changes: Mapping[str, Any]) -> int:
    return len(changes["grid"]) - 1 if "grid" in changes else num_few


def _many(num_few: int, knob: float) -> int:
    return rivals.NUM_STEPS


METHODS = (
    Method("Flow-Map GRPO", rivals.flow_map_grpo, (0.15, 0.5, 1.5), _few),
    Method("Flow-GRPO, many steps", rivals.flow_grpo, (0.05, 0.15, 0.5), _many),
    Method("reward gradient, all maps", rivals.reward_gradient, (0.1, 1.0, 10.0), _few),
    Method("reward gradient, last map", rivals.last_map_gradient, (0.1, 1.0, 10.0), _few),
    Method("MeanFlow-NFT", rivals.mean_flow_nft, (0.0, 0.1, 0.3), _few),
    Method("DiffusionNFT, many steps", rivals.diffusion_nft, (0.0, 0.1, 0.3), _many),
    Method("best of n", rivals.best_of_n, (2, 4, 8), lambda num_few, knob: int(knob) * num_few),
    Method("base trained on", rivals.trained_on, (3e-5, 1e-4, 3e-4), _few),
)

# Settings of Flow-Map GRPO, each with the values that it is tried at; the first is the default.
ABLATIONS: Mapping[str, tuple[tuple[str, Mapping[str, Any]], ...]] = {
    "kernel": (
        ("endpoint", {}),
        ("exact local", {"kernel": "exact_local"}),
        ("local", {"kernel": "local", "composed": False}),
    ),
    "composed": (("composed", {}), ("not composed", {"composed": False})),
    "window": (
        ("the first", {"window": (0,)}),
        ("the second", {"window": (1,)}),
        ("the last", {"window": (2,)}),
        ("all", {"window": None}),
    ),
    "grid": tuple(
        (f"{num} evaluations", {"grid": tuple(1 - step / num for step in range(num + 1)), "window": (0,)})
        for num in (4, 2, 8)
    ),
    "kl_target": (
        ("held", {}),
        ("a weight of .3", {"kl_target": None}),
        ("a weight of .03", {"kl_target": None, "kl_weight": 0.03}),
        ("none", {"kl_target": None, "kl_weight": 0.0}),
    ),
    "advantage_std": tuple((each, {"advantage_std": each}) for each in ("batch", "group", "none")),
    "start": (("of one's own", {"shared_start": False}), ("shared", {"shared_start": True})),
    "ratio_norm": (("on", {}), ("off", {"ratio_norm": False})),
    "saturating": (("up to what real data get", {}), ("without end", {})),
}
REWARDS: Mapping[str, Sequence[AnyReward]] = {
    "without end": (ClassifierSettings(saturating=False), MmdSettings(weight=2.0)),
}


def ablated(setting: str, knobs: tuple[float, ...]) -> tuple[Method, ...]:
    """Flow-Map GRPO as one method for each value of a setting."""
    return tuple(
        Method(
            f"{setting}: {label}",
            partial(rivals.flow_map_grpo, changes=changes),
            knobs,
            partial(_as_changed, changes=changes),
            REWARDS.get(label),
        )
        for label, changes in ABLATIONS[setting]
    )


def ground_of(bench: Bench, config: Path, rewards: Sequence[AnyReward] | None = None) -> rivals.Ground:
    """What methods start from: a finished run's base, baseline and rewards."""
    section, folders = load_config(config).grpo_finetuning, bench.folders
    return rivals.Ground(
        base=load_model(folders["base"], "map"),
        baseline=load_model(folders["base"], "velocity"),
        rewards=build_rewards(rewards or section.rewards, Materials(folders["reward"], torch.device("cpu"))),
        prompts=bench.facts.prompts,
        data=read_split(folders["data"], "base", CAPTION),
        settings=section,
    )


def measured(bench: Bench, draw: rivals.Draw, drawing: Drawing) -> dict[str, float]:
    figures = bench.measurer.measure(draw(drawing)).figures
    return {name: figures[name] for name in _FIGURES}


def follow(
    method: Method, knob: float, seed: int, bench: Bench, ground: rivals.Ground, seconds: float
) -> Iterator[Point]:
    """Train for so many seconds of the processor, measuring on the way; measuring does not count."""
    drawing, counted = (
        bench.drawing(f"methods {seed}"),
        rivals.Counted(ground.base.network, ground.baseline.network),
    )
    left, spent, rounds = list(_PARTS), 0.0, 0
    training = method.train(ground, knob, seed)
    while left:
        counted.is_on, began = True, time.process_time()
        draw = next(training, None)
        counted.is_on = False
        spent += time.process_time() - began
        if draw is not None:
            rounds, latest = rounds + 1, draw
        while left and (draw is None or spent >= left[0] * seconds):
            figures = measured(bench, latest, drawing)
            yield Point(method.name, knob, seed, left.pop(0), spent, counted.rows, rounds, figures)


def best_knob(points: Sequence[Point], method: Method, most_kid: float) -> float | None:
    """The knob with the highest mean accuracy at the end among those whose mean KID is small enough."""
    found = {}
    for knob in method.knobs:
        here = [each for each in points if (each.method, each.knob, each.part) == (method.name, knob, 1.0)]
        if here and mean(each.figures["kid_judge"] for each in here) <= most_kid:
            found[knob] = mean(each.figures["judge_accuracy"] for each in here)
    return max(found, key=lambda knob: found[knob]) if found else None


def run_seed(asked: argparse.Namespace, methods: Sequence[Method], seed: int) -> tuple[float, list[Point]]:
    """The base's KID, and every measurement of a seed; what was measured before is read."""
    kept = asked.root / "methods" / f"{asked.config.stem}-{asked.ablate or 'methods'}-{seed}.json"
    if kept.exists():
        told = json.loads(kept.read_text())
        return told["kid"], [Point(**each) for each in told["points"]]
    sets = [f"name={asked.config.stem}-{seed}", *(f"{section}.seed={seed}" for section in _SEEDED)]
    bench = bench_of(asked.config, asked.root, sets)
    drawing, points = bench.drawing(f"methods {seed}"), []
    for method in methods:
        for knob in method.knobs:
            # With weights that nobody has counted or trained yet.
            ground = ground_of(bench, asked.config, method.rewards)
            points += list(follow(method, knob, seed, bench, ground, asked.seconds))
            last = points[-1]
            print(
                f"seed {seed}, {method.name}, {knob:g}: {last.figures['judge_accuracy']:.3f}, KID "
                f"{last.figures['kid_judge']:+.4f}, {last.rounds} rounds in {last.seconds:.0f} s",
                flush=True,
            )
    base = ground_of(bench, asked.config)
    kid = measured(bench, lambda each: each.composed(base.base, base.settings.grid), drawing)["kid_judge"]
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps({"kid": kid, "points": [asdict(each) for each in points]}))
    return kid, points


def row(points: Sequence[Point], method: Method, knob: float | None, evaluations: int) -> str:
    """Of a table: mean over the seeds, and their range where there is room."""
    if knob is None:
        return f"| {method.name} | none of {', '.join(f'{each:g}' for each in method.knobs)} |" + " |" * 7
    mine = [each for each in points if (each.method, each.knob) == (method.name, knob)]

    def at(part: float, name: str) -> list[float]:
        return [each.figures[name] for each in mine if each.part == part]

    ends = [each for each in mine if each.part == 1.0]
    accuracy = at(1.0, "judge_accuracy")
    cells = [
        method.name,
        f"{knob:g}",
        str(evaluations),
        f"{mean(at(_PARTS[0], 'judge_accuracy')):.3f}",
        f"{mean(accuracy):.3f} ({min(accuracy):.3f} to {max(accuracy):.3f})",
        f"{mean(at(1.0, 'kid_judge')):+.4f}",
        f"{mean(at(1.0, 'recall')):.2f}",
        f"{mean(at(1.0, 'diversity')):.3f}",
        f"{mean(each.trained for each in ends) / 1e6:.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


def plot(points: Sequence[Point], chosen: Mapping[str, float], path: Path) -> None:
    """Accuracy against seconds, and against map evaluations, of each method with its best knob."""
    figure = Figure(figsize=(10, 4), layout="constrained", dpi=110)
    axes = figure.subplots(1, 2, sharey=True)
    for index, (method, knob) in enumerate(chosen.items()):
        colour = f"C{index}"
        mine = [each for each in points if (each.method, each.knob) == (method, knob)]
        steps = [[each for each in mine if each.part == part] for part in _PARTS]
        accuracy = [mean(each.figures["judge_accuracy"] for each in step) for step in steps]
        seconds, trained = ([mean(getattr(p, name) for p in step) for step in steps] for name in _COSTS)
        if not trained[-1]:  # nothing is trained
            for axis in axes:
                axis.axhline(accuracy[-1], color=colour, linestyle=":")
            axes[1].plot([], [], ":", color=colour, label=method)
            continue
        axes[0].plot(seconds, accuracy, "o-", color=colour)
        axes[1].plot(trained, accuracy, "o-", color=colour, label=method)
    axes[0].set(xlabel="seconds of training", ylabel="judge accuracy", xscale="log")
    axes[1].set(xlabel="map evaluations of training", xscale="log")
    figure.legend(loc="outside right center", fontsize=8)
    figure.savefig(path, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, nargs="?", default=Path("examples/points.yaml"))
    parser.add_argument("--root", type=Path, default=Path(".flowmap"), help="where runs are kept")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10, help="of one core, for each training")
    parser.add_argument("--ablate", choices=ABLATIONS, help="one setting of Flow-Map GRPO, for the methods")
    parser.add_argument("--plot", type=Path, help="write a picture here")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])  # its first use loads a compiler, for seconds
    methods = ablated(asked.ablate, METHODS[0].knobs[1:2]) if asked.ablate else METHODS
    found = [run_seed(asked, methods, seed) for seed in range(asked.seeds)]
    points = [point for _, here in found for point in here]
    section = load_config(asked.config)
    most_kid = mean(kid for kid, _ in found) + section.evaluation.kid_tolerance
    print(f"\n{asked.config}, {asked.seeds} seeds, {asked.seconds:g} s, KID at most {most_kid:.4f}:\n")
    print(f"| {' | '.join(_COLUMNS)} |")
    print("| --- |" + " ---: |" * 8)
    chosen = {method: best_knob(points, method, most_kid) for method in methods}
    num_few = len(section.grpo_finetuning.grid) - 1
    for method, knob in chosen.items():
        print(row(points, method, knob, method.evaluations(num_few, knob or 0)))
    if asked.plot:
        plot(points, {method.name: knob for method, knob in chosen.items() if knob is not None}, asked.plot)


if __name__ == "__main__":
    main()
