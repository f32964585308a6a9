"""Evaluation: every model on the same prompts and seeds, the gate, the report.

Base, incumbent (the version that the alias points to, when there is one), candidate (raw weights and their
average) and the many-step baseline. The judge is trained here, on the judge split, and stays here. The gate
looks at the average (EMA), which is what would be published, on the grid it was trained on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from flowmap.data.dataset import read_facts, read_split
from flowmap.data.facts import DataFacts
from flowmap.errors import DataError
from flowmap.evaluation.distances import distance_intervals, paired_interval
from flowmap.evaluation.drawing import Drawing, in_parts
from flowmap.evaluation.gate import decide
from flowmap.evaluation.judge import train_judge
from flowmap.evaluation.measure import Measured, Measurer
from flowmap.evaluation.report import Report, shown_indices, write_report
from flowmap.maps import grid_for
from flowmap.modality import judging
from flowmap.models.storing import load_model, load_weights, read_model_facts
from flowmap.progress import Progress, say
from flowmap.registry.evaluation_result import METRICS, VERDICT
from flowmap.rewards.preference import read_preference
from flowmap.seeding import derived_seed, generator_for
from flowmap.settings import Evaluation
from flowmap.steps.context import Context
from flowmap.training.devices import device

Models = dict[str, dict[int, Measured]]
_SAMPLES, _FEWEST = 1000, 20
_MOST_DISTANCES = 200  # resamples of a distance, each of which is an eigenvalue problem


def run(context: Context[Evaluation]) -> None:
    section, inputs = context.section, context.inputs
    facts, grid = read_facts(inputs["data"]), read_model_facts(inputs["tuned"]).grid
    assert grid is not None
    num_trained = len(grid) - 1
    measurer = _measurer(section, inputs, facts)
    drawing = _drawing(section, facts, inputs)
    models = _measure(section, inputs, measurer, drawing, grid)

    against: Literal["base", "incumbent"] = "incumbent" if "incumbent" in models else "base"
    num_against = _own_count(inputs["incumbent"]) if against == "incumbent" else num_trained
    pair = models[against][num_against], models["tuned"][num_trained]
    real = _real(measurer, inputs["data"])
    difference = _differences(section, *pair, drawing, measurer, real["judge_log_probability"])
    verdict = decide(
        section,
        against=against,
        num_evaluations=num_trained,
        against_evaluations=num_against,
        difference=difference,
        incumbent=pair[0].figures,
        candidate=pair[1].figures,
    )
    metrics = {
        "trained_grid": grid,
        "trained_evaluations": num_trained,
        "against": against,
        "incumbent": context.manifests["incumbent"].digest if "incumbent" in inputs else None,
        "models": {
            name: {str(count): measured.figures for count, measured in by_count.items()}
            for name, by_count in models.items()
        },
        "difference": difference,
        "real": real,
        "curve": _judge_curve(inputs["tuned"], measurer, drawing, grid),
    }
    (context.out / METRICS).write_text(json.dumps(metrics, indent=1, sort_keys=True))
    (context.out / VERDICT).write_text(verdict.model_dump_json(indent=1))
    report = Report(
        facts=facts,
        metrics=metrics,
        verdict=verdict,
        models=models,
        prompt=drawing.prompt,
        held_out=read_split(inputs["data"], "holdout"),
        training=json.loads((inputs["tuned"] / "curve.json").read_text()),
        grpo=json.loads((inputs["tuned"] / "grpo.json").read_text()),
    )
    write_report(context.out, report)
    say(f"evaluation: {verdict.verdict}" + (f" ({', '.join(verdict.failed)})" if verdict.failed else ""))


def _own_count(model: Path) -> int:
    """The map evaluations of the grid that a model was trained on."""
    grid = read_model_facts(model).grid
    assert grid is not None  # every published model was fine-tuned
    return len(grid) - 1


def _measurer(section: Evaluation, inputs: Mapping[str, Path], facts: DataFacts) -> Measurer:
    """The judge, trained now, and the preference model, where there is a GPU on it."""
    judge_split, held_out = read_split(inputs["data"], "judge"), read_split(inputs["data"], "holdout")
    network = judging(facts.modality)
    judge = train_judge(
        judge_split, network, facts.shape, len(facts.prompts), section.judge_updates, section.seed
    )
    with torch.no_grad():
        features = torch.cat([judge.features(part) for part, _ in in_parts(held_out.data, held_out.prompts)])
    where, reward = device(), read_preference(inputs["reward"])[0]
    assert isinstance(judge, nn.Module)
    judge.to(where)
    return Measurer(judge, reward.to(where), features, len(facts.prompts), where)


def _drawing(section: Evaluation, facts: DataFacts, inputs: Mapping[str, Path]) -> Drawing:
    num_each = section.samples_per_prompt or max(_FEWEST, _SAMPLES // len(facts.prompts))
    prompt = torch.arange(len(facts.prompts)).repeat_interleave(num_each)
    state_shape = read_model_facts(inputs["base"]).build().codec.state_shape
    noise = torch.randn(len(prompt), *state_shape, generator=generator_for(section.seed, "noise"))
    return Drawing(facts.prompts, prompt, noise)


def _measure(
    section: Evaluation,
    inputs: Mapping[str, Path],
    measurer: Measurer,
    drawing: Drawing,
    trained_grid: tuple[float, ...],
) -> Models:
    """Every model at every number of map evaluations, from the same noise."""
    trained = read_model_facts(inputs["tuned"])
    counts = sorted({*section.evaluations, len(trained_grid) - 1})
    baseline_counts = sorted({*section.baseline_evaluations, *counts})
    shown = shown_indices(drawing.prompt)
    sources = {
        "base": (inputs["base"], "map"),
        "raw": (inputs["tuned"], "raw"),
        "tuned": (inputs["tuned"], "ema"),
    }
    if "incumbent" in inputs:
        sources["incumbent"] = (inputs["incumbent"], "ema")
    models: Models = {}
    with Progress("evaluation: samples", len(sources) * len(counts) + len(baseline_counts)) as progress:
        for name, (folder, weights) in sources.items():
            facts = read_model_facts(folder)
            if (facts.shape, facts.prompts) != (trained.shape, trained.prompts):
                raise DataError(
                    f"the incumbent makes data of {facts.shape} for prompts {', '.join(facts.prompts)}, the "
                    f"candidate {trained.shape} for {', '.join(trained.prompts)}: they can't be compared; "
                    "give the run another `name`"
                )
            model, grid = load_model(folder, weights, measurer.device), facts.grid or trained_grid
            models[name] = {}
            for count in sorted({*counts, len(grid) - 1}):  # each on the grid it ships, too
                parts = drawing.composed(model, grid_for(count, grid))
                models[name][count] = measurer.measure(parts, shown)
                progress.update()
        baseline = load_model(inputs["base"], "velocity", measurer.device)
        models["baseline"] = {}
        for count in baseline_counts:
            models["baseline"][count] = measurer.measure(drawing.integrated(baseline, count), shown)
            progress.update()
    return models


def _differences(
    section: Evaluation,
    incumbent: Measured,
    candidate: Measured,
    drawing: Drawing,
    measurer: Measurer,
    ceiling: float,
) -> dict[str, dict[str, float]]:
    """Candidate against incumbent over the same prompts and seeds.

    The judge's log-probability counts up to `ceiling`, what held-out real data get: a sample that reads
    better than real ones has left them, and has gained nothing.
    """
    gains = {
        "judge_log_probability": candidate.log_probability.clamp(max=ceiling)
        - incumbent.log_probability.clamp(max=ceiling),
        "reward": candidate.reward - incumbent.reward,
    }
    prompt = drawing.prompt.numpy()
    found = {
        name: paired_interval(
            value.double().numpy(), prompt, section.resamples, derived_seed(section.seed, "resamples", name)
        )
        for name, value in gains.items()
    }
    old, new = (each.features.double().numpy() for each in (incumbent, candidate))
    if not (np.isfinite(old).all() and np.isfinite(new).all()):  # NaN passes no criterion
        nothing = dict.fromkeys(("mean", "low", "high"), math.nan)
        return {**found, "kid_judge": nothing, "fd_judge": nothing}
    seed = derived_seed(section.seed, "resamples", "distances") % 2**32
    real = measurer.held_out.double().numpy()
    num = min(section.resamples, _MOST_DISTANCES)
    return {**found, **distance_intervals(old, new, real, prompt, num, seed)}


def _real(measurer: Measurer, data: Path) -> dict[str, float]:
    """Real against real: what perfect samples would get. The Frechet distance is the floor of all others.

    Distances and recall are those of the base split; accuracy and log-probability those of the held-out
    data.
    """
    base, held_out = read_split(data, "base"), read_split(data, "holdout")
    measured = measurer.measure(in_parts(base.data, base.prompts))
    unseen = measurer.measure(in_parts(held_out.data, held_out.prompts))
    own = ("judge_accuracy", "judge_log_probability")
    return {**measured.figures, **{name: unseen.figures[name] for name in own}}


def _judge_curve(
    tuned: Path, measurer: Measurer, drawing: Drawing, grid: tuple[float, ...]
) -> list[dict[str, Any]]:
    """The judge's figures of the snapshots that GRPO left, by the number of rollouts."""
    model, rows = load_model(tuned, "raw", measurer.device), []
    for path in sorted((tuned / "snapshots").glob("*.safetensors")):
        load_weights(model.network, path)
        measured = measurer.measure(drawing.composed(model, grid))
        rows.append({"rollout": int(path.stem), **measured.figures})
    return rows
