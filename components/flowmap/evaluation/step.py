"""Evaluation: every model on the same prompts and seeds, the gate, the report.

Base, incumbent (the version that the alias points to, when there is one), candidate (raw weights and their average) and
the many-step baseline. The judge is trained here, on the judge split, and stays here. The gate looks at the average
(EMA), which is what would be published, on the grid it was trained on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor

from flowmap.config import Evaluation
from flowmap.data.dataset import Split, read_facts, read_split
from flowmap.errors import DataError
from flowmap.evaluated import METRICS, VERDICT
from flowmap.evaluation.gate import decide
from flowmap.evaluation.judge import train_judge
from flowmap.evaluation.measure import Measurer
from flowmap.evaluation.metrics import paired_interval
from flowmap.evaluation.report import Report, write_report
from flowmap.maps import TwoTimeMap, compose, euler, grid_for
from flowmap.networks import load_network, read_model_facts
from flowmap.progress import Progress, say
from flowmap.rewards.preference import read_preference
from flowmap.step import Context

Samples = dict[str, dict[int, Tensor]]
_SAMPLES, _FEWEST = 1000, 20
_PAIRED = ("judge_log_probability", "reward")


def run(context: Context) -> None:
    section, inputs = context.config.evaluation, context.inputs
    facts, model = read_facts(inputs["data"]), read_model_facts(inputs["tuned"])
    assert model.grid is not None
    num_trained = len(model.grid) - 1
    judge_split, held_out = read_split(inputs["data"], "judge"), read_split(inputs["data"], "holdout")
    judge = train_judge(judge_split, facts.shape, len(facts.prompts), section.judge_updates, section.seed)
    measurer = Measurer(judge, read_preference(inputs["reward"])[0], held_out)

    num_each = section.samples_per_prompt or max(_FEWEST, _SAMPLES // len(facts.prompts))
    prompt = torch.arange(len(facts.prompts)).repeat_interleave(num_each)
    noise = torch.randn(len(prompt), *facts.shape, generator=torch.Generator().manual_seed(section.seed))
    counts = sorted({*section.evaluations, num_trained})
    samples = _draw(section, inputs, noise, prompt, counts)
    figures = {
        name: {str(count): measurer.measure(x, prompt) for count, x in by_count.items()}
        for name, by_count in samples.items()
    }

    against: Literal["base", "incumbent"] = "incumbent" if "incumbent" in samples else "base"
    pair = samples[against][num_trained], samples["tuned"][num_trained]
    difference = _differences(section, measurer, *pair, prompt)
    verdict = decide(
        section,
        against=against,
        num_evaluations=num_trained,
        difference=difference["judge_log_probability"],
        incumbent=figures[against][str(num_trained)],
        candidate=figures["tuned"][str(num_trained)],
    )
    metrics = {
        "trained_grid": model.grid,
        "trained_evaluations": num_trained,
        "against": against,
        "incumbent": context.manifests["incumbent"].digest if "incumbent" in inputs else None,
        "models": figures,
        "difference": difference,
        "real": _real(measurer, read_split(inputs["data"], "base"), held_out),
        "curve": _judge_curve(inputs["tuned"], measurer, noise, prompt, model.grid),
    }
    (context.out / METRICS).write_text(json.dumps(metrics, indent=1, sort_keys=True))
    (context.out / VERDICT).write_text(verdict.model_dump_json(indent=1))
    training = json.loads((inputs["tuned"] / "curve.json").read_text())
    worst = measurer.log_probability(samples["tuned"][num_trained], prompt).argsort(stable=True)
    report = Report(context.config, facts, metrics, verdict, samples, prompt, held_out, training, worst)
    write_report(context.out, report)
    say(f"evaluation: {verdict.verdict}" + (f" ({', '.join(verdict.failed)})" if verdict.failed else ""))


def _draw(section: Evaluation, inputs: Mapping[str, Path], noise: Tensor, prompt: Tensor, counts: list[int]) -> Samples:
    """Samples of every model at every number of map evaluations, from the same noise."""
    trained = read_model_facts(inputs["tuned"])
    sources = {"base": (inputs["base"], "map"), "raw": (inputs["tuned"], "raw"), "tuned": (inputs["tuned"], "ema")}
    if "incumbent" in inputs:
        sources["incumbent"] = (inputs["incumbent"], "ema")
    baseline_counts = sorted({*section.baseline_evaluations, *counts})
    samples: Samples = {}
    with Progress("evaluation: samples", len(sources) * len(counts) + len(baseline_counts)) as progress:
        for name, (folder, weights) in sources.items():
            facts = read_model_facts(folder)
            if (facts.shape, facts.prompts) != (trained.shape, trained.prompts):
                raise DataError(
                    f"the incumbent makes {facts.shape} images for prompts {', '.join(facts.prompts)}, the candidate "
                    f"{trained.shape} for {', '.join(trained.prompts)}: they can't be compared; give the run another "
                    "`name`"
                )
            flow_map, grid = TwoTimeMap(load_network(folder, weights)), facts.grid or trained.grid
            samples[name] = {}
            for count in counts:
                samples[name][count] = compose(flow_map, noise, prompt, grid_for(count, grid))
                progress.update()
        baseline = TwoTimeMap(load_network(inputs["base"], "velocity"))
        samples["baseline"] = {}
        for count in baseline_counts:
            samples["baseline"][count] = euler(baseline, noise, prompt, count)
            progress.update()
    return samples


def _differences(
    section: Evaluation, measurer: Measurer, incumbent: Tensor, candidate: Tensor, prompt: Tensor
) -> dict[str, dict[str, float]]:
    """Paired differences, candidate less incumbent, with their intervals."""
    with torch.no_grad():
        reward = measurer.reward(candidate, prompt) - measurer.reward(incumbent, prompt)
    log_probability = measurer.log_probability(candidate, prompt) - measurer.log_probability(incumbent, prompt)
    values = dict(zip(_PAIRED, (log_probability, reward), strict=True))
    return {
        name: paired_interval(value.double().numpy(), prompt.numpy(), section.resamples, section.seed)
        for name, value in values.items()
    }


def _real(measurer: Measurer, real: Split, held_out: Split) -> dict[str, float]:
    """Real against real: what perfect samples would get. The Frechet distance is the floor of all others.

    Distances and recall are those of the base split; accuracy and log-probability those of the held-out images.
    """
    measured = measurer.measure(real.images, real.prompts)
    with torch.no_grad():
        right = measurer.judge(held_out.images).argmax(1) == held_out.prompts
    return {
        **measured,
        "judge_accuracy": float(right.float().mean()),
        "judge_log_probability": float(measurer.log_probability(held_out.images, held_out.prompts).mean()),
    }


def _judge_curve(
    tuned: Path, measurer: Measurer, noise: Tensor, prompt: Tensor, grid: tuple[float, ...]
) -> list[dict[str, Any]]:
    """The judge's figures of the snapshots that GRPO left, by the number of rollouts."""
    network, rows = load_network(tuned, "raw"), []
    for path in sorted((tuned / "snapshots").glob("*.safetensors")):
        network.load_state_dict(load_file(path))
        x = compose(TwoTimeMap(network), noise, prompt, grid)
        measured = measurer.measure(x, prompt)
        rows.append({"rollout": int(path.stem), **measured})
    return rows
