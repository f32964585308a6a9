"""How often the gate is wrong: what it promotes without a gain, and what with a gain it does not.

    make bench-gate            # on examples/digits.yaml: a quarter of an hour

Base, tuned model and data are those of a run of that example, and the judge is trained as its evaluation
does. Null candidates come one after the other, as in a registry: each is held against the last one that was
promoted, the base at first. Four kinds take turns: the incumbent with its start noise made smaller, so that
it draws what is typical; with its weights shaken; trained on by GRPO on a reward of pure chance; and the
average of the weights of such a training.

A candidate with a gain that is known draws a share of its samples from the tuned model and the others from
the base: its gain is that share of theirs. How often it is promoted says what gain the gate can see.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from benchmarks.nulls import NULLS, Player
from flowmap.data.dataset import read_facts, read_split
from flowmap.evaluation.controls import NoiseCurve
from flowmap.evaluation.drawing import Drawing
from flowmap.evaluation.gate import Contest, decide, gains, level_of, losses
from flowmap.evaluation.intervals import Interval
from flowmap.evaluation.materials import drawing_of, judge_seed, measurer_of, reference_of
from flowmap.evaluation.measure import Measured, Measurer
from flowmap.models.storing import load_model, read_model_facts
from flowmap.registry.evaluation_result import Verdict
from flowmap.seeding import derived_seed, generator_for
from flowmap.settings import Evaluation, load_config

_AGAIN = 6  # times that a null that was promoted is drawn again
_SAMPLES = 100  # a prompt, where the configuration does not say


@dataclass
class Bench:
    """A run's models and data, and the judge as its evaluation trains it.

    Attributes:
        section: settings of evaluation.
        num_each: samples a prompt.
    """

    folders: Mapping[str, Path]
    section: Evaluation
    num_each: int = _SAMPLES
    measurer: Measurer = field(init=False)

    def __post_init__(self) -> None:
        data = self.folders["data"]
        self.facts, grid = read_facts(data), read_model_facts(self.folders["tuned"]).grid
        assert grid is not None
        self.grid = grid
        self.prompt = torch.arange(len(self.facts.prompts)).repeat_interleave(self.num_each)
        seed = judge_seed(data.name)
        reference = reference_of(self.section, self.folders, self.facts, self.prompt, seed)
        self.measurer = measurer_of(
            self.section, self.folders, self.facts, reference, len(self.prompt), seed
        )
        held_out = read_split(data, "holdout")
        base = read_split(data, "base")
        self.real_diversity = self.measurer.measure([(base.data, base.prompts)]).figures["diversity"]
        self.real_accuracy = self.measurer.measure([(held_out.data, held_out.prompts)]).figures[
            "judge_accuracy"
        ]

    def player(self, name: str, weights: str) -> Player:
        return Player(load_model(self.folders[name], weights))

    def drawing(self, candidate: str) -> Drawing:
        """The noise that a candidate of that digest is judged on."""
        return drawing_of(candidate, "gate", self.facts, self.prompt, self.folders)

    def measured(self, player: Player, drawing: Drawing) -> Measured:
        return self.measurer.measure(drawing.scaled(player.scale).composed(player.model, self.grid))

    def curve(self, player: Player, drawing: Drawing, whole: Measured) -> NoiseCurve:
        """With its noise scaled down from what it takes already."""
        own = drawing.scaled(player.scale)
        return NoiseCurve.of(lambda each: each.composed(player.model, self.grid), own, self.measurer, whole)

    def verdict(
        self, contest: Contest, trial: int, candidate: str, lost: Mapping[str, Interval] | None = None
    ) -> Verdict:
        """Args: lost: the losses, where they are known already, whatever the trial."""
        level = level_of(trial, self.section.false_promotions)
        lost = lost or losses(contest, self.measurer, self.section, candidate)
        difference = {**gains(contest, level), **lost}
        return decide(
            self.section,
            against="incumbent",
            trial=trial,
            num_evaluations=len(self.grid) - 1,
            against_evaluations=len(self.grid) - 1,
            difference=difference,
            judge_on_real=self.real_accuracy,
            judge_on_anchor=contest.anchor.figures["judge_accuracy"],
            num_real=len(self.measurer.held_out),
            diversity_of_real=self.real_diversity / contest.anchor.figures["diversity"],
        )

    def judge(self, candidate: Player, incumbent: Player, anchor: Player, trial: int, name: str) -> Verdict:
        """What the gate says of a candidate of that digest."""
        drawing = self.drawing(name)
        new, old = self.measured(candidate, drawing), self.measured(incumbent, drawing)
        first = old if anchor is incumbent else self.measured(anchor, drawing)
        curve = self.curve(incumbent, drawing, old)
        return self.verdict(Contest(new, old, first, curve, self.prompt), trial, name)


def series(
    bench: Bench, anchor: Player, num: int, kinds: Sequence[str], seed: int
) -> tuple[list[tuple[str, int, Verdict]], dict[int, list[float]]]:
    """The gate's verdicts on so many null candidates, one after the other, the kinds taking turns, each with
    its kind and number; and by number what those that were promoted are worth on other noise."""
    incumbent, told, again = anchor, [], {}
    for trial in range(1, num + 1):
        kind = kinds[trial % len(kinds)]
        candidate = NULLS[kind](incumbent, derived_seed(seed, trial) % 2**31)
        verdict = bench.judge(candidate, incumbent, anchor, trial, f"{seed} {trial}")
        told.append((kind, trial, verdict))
        if verdict.verdict == "promote":
            again[trial] = looked_at_again(bench, candidate, incumbent, _AGAIN)
            incumbent = candidate
    return told, again


def looked_at_again(bench: Bench, candidate: Player, incumbent: Player, num: int) -> list[float]:
    """Its score less the incumbent's on noise that no verdict chose: what it gained, though nothing taught
    it."""
    found = []
    for index in range(num):
        drawing = bench.drawing(f"again {index}")
        scores = [
            bench.measured(player, drawing).figures["judge_score"] for player in (candidate, incumbent)
        ]
        found.append(scores[0] - scores[1])
    return found


def power(
    bench: Bench, base: Player, tuned: Player, shares: tuple[float, ...], trials: tuple[int, ...], num: int
) -> dict[tuple[float, int], float]:
    """How often a candidate is promoted that draws a share of its samples from the tuned model, by that
    share and the number of the trial; and under trial 0 its gain in judge accuracy."""
    promoted: dict[tuple[float, int], float] = {}
    for index in range(num):
        name = f"power {index}"
        drawing = bench.drawing(name)
        old = bench.measured(base, drawing)
        curve = bench.curve(base, drawing, old)
        drawn = [list(drawing.composed(player.model, bench.grid)) for player in (base, tuned)]
        for share in shares:
            generator = generator_for(name, "share", str(share))
            parts = []
            for (x, prompt), (better, _) in zip(*drawn, strict=True):
                taken = torch.rand(len(x), generator=generator) < share
                parts.append((torch.where(taken.view(-1, *[1] * (x.dim() - 1)), better, x), prompt))
            new = bench.measurer.measure(parts)
            contest = Contest(new, old, old, curve, bench.prompt)
            lost = losses(contest, bench.measurer, bench.section, name)
            for trial in trials:
                passed = bench.verdict(contest, trial, name, lost).verdict == "promote"
                promoted[share, trial] = promoted.get((share, trial), 0.0) + passed / num
            gain = new.figures["judge_accuracy"] - old.figures["judge_accuracy"]
            promoted[share, 0] = promoted.get((share, 0), 0.0) + gain / num
    return promoted


def bench_of(config: Path, root: Path, sets: Sequence[str] = ()) -> Bench:
    """Of a finished run of a configuration below a root, with `--set`s; what is there already is reused."""
    flowmap = [sys.executable, "-m", "flowmap_pipelines.cli"]
    command = [*flowmap, "run", str(config), "--root", str(root), "--json"]
    for each in sets:
        command += ["--set", each]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if not done.stdout:
        sys.exit(done.returncode)
    made = {name: step["artifact"] for name, step in json.loads(done.stdout)["steps"].items()}
    artifacts = root / "store" / "artifacts"
    folders = {
        "data": artifacts / made["data_prep"],
        "base": artifacts / made["base_training"],
        "reward": artifacts / made["reward_training"],
        "tuned": artifacts / made["grpo_finetuning"],
    }
    section = load_config(config).evaluation
    return Bench(folders, section, section.samples_per_prompt or _SAMPLES)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, nargs="?", default=Path("examples/digits.yaml"))
    parser.add_argument("--root", type=Path, default=Path(".flowmap"), help="where runs are kept")
    parser.add_argument("--nulls", type=int, default=200, help="candidates without a gain")
    parser.add_argument("--num", type=int, default=20, help="candidates for each gain that is known")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    bench = bench_of(asked.config, asked.root)
    base, tuned = bench.player("base", "map"), bench.player("tuned", "ema")

    print(f"\n{asked.nulls} candidates without a gain, one after the other:\n")
    print("| candidate | judged | promoted | failed for no gain | failed for a loss |")
    print("| --- | ---: | ---: | ---: | ---: |")
    gains = {"judge", "judge_score", "above_noise_scale"}
    verdicts, again = series(bench, base, asked.nulls, list(NULLS), seed=0)
    for kind in NULLS:
        here = [(trial, each) for name, trial, each in verdicts if name == kind]
        promoted = [trial for trial, each in here if each.verdict == "promote"]
        no_gain = sum(bool(gains & set(each.failed)) for _, each in here)
        lost = sum(bool(set(each.failed) - gains) for _, each in here)
        at = f" (number {', '.join(map(str, promoted))})" if promoted else ""
        print(f"| {kind} | {len(here)} | {len(promoted)}{at} | {no_gain} | {lost} |")
    wrong = sum(each.verdict == "promote" for _, _, each in verdicts)
    print(f"\npromoted without having been taught a gain: {wrong} of {asked.nulls}")
    for trial, values in again.items():
        listed = ", ".join(f"{value:+.3f}" for value in values)
        print(f"number {trial} on other noise, its score less the incumbent's: {listed}", flush=True)

    shares, trials = (0.05, 0.1, 0.2, 0.5, 1.0), (1, 10, 100)
    found = power(bench, base, tuned, shares, trials, asked.num)
    print(f"\nPromoted of {asked.num} candidates with a gain that is known:\n")
    print("| gain in judge accuracy | " + " | ".join(f"as number {trial}" for trial in trials) + " |")
    print("| ---: |" + " ---: |" * len(trials))
    for share in shares:
        rates = " | ".join(f"{found[share, trial]:.0%}" for trial in trials)
        print(f"| {found[share, 0]:+.3f} | {rates} |")


if __name__ == "__main__":
    main()
