"""Evaluation: the gate, every model on the same prompts and seeds, the report.

The judge is trained here, on the judge split, and stays here. The gate looks at the average (EMA), which is
what would be published, on the grid it was trained on, from noise that follows from the candidate itself.
Then all models are drawn anew, from other noise: base, anchor, incumbent, candidate (raw weights and their
average) and the many-step baseline. Those figures are the ones that are told, for no verdict chose them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flowmap.artifacts.manifest import Manifest
from flowmap.data.dataset import read_facts
from flowmap.data.facts import DataFacts
from flowmap.evaluation.advice import advice
from flowmap.evaluation.amounts import BEST_OF, SCALES
from flowmap.evaluation.asked import prompts_asked
from flowmap.evaluation.breakdown import Read, by_attribute, by_prompt, by_set, read_of
from flowmap.evaluation.controls import DrawFrom, NoiseCurve, best_of, chooser
from flowmap.evaluation.drawing import Drawing, in_parts
from flowmap.evaluation.entrants import Entrant, entrants
from flowmap.evaluation.gate import Contest, compare, decide, level_of
from flowmap.evaluation.materials import (
    Reference,
    drawing_of,
    judge_seed,
    measurer_of,
    reference_of,
    rewards_paid,
)
from flowmap.evaluation.measure import Measured, Measurer
from flowmap.evaluation.measured_models import Models, measure_models, real_figures
from flowmap.evaluation.outcomes import simpler
from flowmap.evaluation.report import write_report
from flowmap.evaluation.reported import Report
from flowmap.evaluation.reward_judge import PaidRewards
from flowmap.evaluation.scored_rewards import Scored, score_rewards
from flowmap.evaluation.trained_on import NAME as TRAINED_ON
from flowmap.evaluation.trained_on import TrainedOn, begun
from flowmap.modality import forecasting
from flowmap.models.baseline import guidance_of
from flowmap.models.storing import load_model, load_weights
from flowmap.progress import Progress, say
from flowmap.registry import terms_of
from flowmap.registry.evaluation_result import METRICS, VERDICT, Against, Verdict
from flowmap.rewards.building import Materials, build_rewards
from flowmap.seeding import generator_for
from flowmap.settings import Evaluation
from flowmap.steps.context import Context
from flowmap.training.memory import LESS_FOR_EVALUATION, full_memory_told

PAID, ONLY_EVALUATED = "grpo_finetuning.rewards", "evaluation.rewards"


def run(context: Context[Evaluation]) -> None:
    with full_memory_told("evaluation", LESS_FOR_EVALUATION), begun(context) as control:
        _run(context, control)


def _run(context: Context[Evaluation], control: TrainedOn) -> None:
    section, inputs = context.section, context.inputs
    facts, entered = read_facts(inputs["data"]), entrants(inputs)
    prompt = prompts_asked(section, facts, inputs["data"])
    seed = judge_seed(context.manifests["data"].digest)
    reference = reference_of(section, inputs, facts, prompt, seed)
    measurer = measurer_of(section, inputs, facts, reference, len(prompt), seed)
    real = real_figures(measurer, reference)

    candidate = context.manifests["tuned"].digest
    drawing = drawing_of(candidate, "gate", facts, prompt, inputs)
    contest = _contest(entered, measurer, drawing)
    scored = _scored(section, entered, measurer, drawing, facts, inputs)
    held_out_rewards = scored.get(ONLY_EVALUATED, {})
    verdict, difference = _judged(section, contest, measurer, entered, real, held_out_rewards, context)
    trained = entered["tuned"].num_evaluations

    drawing = drawing_of(candidate, "published", facts, prompt, inputs)
    models = measure_models(section, inputs, entered, measurer, drawing, facts.shape)
    if trained_on := control.entrant(entered["base"]):
        drawn = measurer.measure(trained_on.drawn(drawing, trained_on.model(measurer.device)))
        models[TRAINED_ON] = {trained: drawn}
    if facts.context is not None:
        generator = generator_for(candidate, "simpler")
        for name, said in simpler(inputs["data"], prompt, forecasting(facts.modality), generator).items():
            models[name] = {0: measurer.measure(in_parts(said, prompt))}
    read = _read(models, trained, drawing, measurer, reference)
    metrics = {
        "trained_grid": entered["tuned"].grid,
        "trained_evaluations": trained,
        "trial": verdict.trial,
        "terms": terms_of(section),
        "against": verdict.against,
        **{name: _digest(context.manifests, name) for name in ("incumbent", "anchor")},
        "models": {
            name: {str(count): measured.figures for count, measured in by_count.items()}
            for name, by_count in models.items()
        },
        "gate": {name: getattr(contest, name).figures for name in ("candidate", "incumbent", "anchor")},
        "difference": difference,
        **{
            key: {name: asdict(each) for name, each in scored.get(where, {}).items()}
            for key, where in (("rewards", ONLY_EVALUATED), ("rewards_paid", PAID))
        },
        "real": real,
        "accuracy_by_prompt": by_prompt(read, facts),
        **_parts_of_accuracy(read, facts),
        "controls": _controls(entered, measurer, drawing, models, inputs["reward"]),
        "curve": _judge_curve(inputs["tuned"], measurer, drawing, entered["tuned"]),
        **({} if (scale := guidance_of(inputs["base"])) is None else {"guidance": scale}),
        **(
            {}
            if (frechet := getattr(measurer.judge.features, "frechet", None)) is None
            else {"frechet": frechet}
        ),
    }
    (context.out / METRICS).write_text(json.dumps(metrics, indent=1, sort_keys=True))
    (context.out / VERDICT).write_text(verdict.model_dump_json(indent=1))
    report = Report(
        facts=facts,
        metrics=metrics,
        verdict=verdict,
        models=models,
        prompt=drawing.prompt,
        held_out=reference.held_out,
        training=json.loads((inputs["tuned"] / "curve.json").read_text()),
        outcome=json.loads((inputs["tuned"] / "training.json").read_text()),
        grpo=json.loads((inputs["tuned"] / "grpo.json").read_text()),
    )
    write_report(context.out, report)
    say(f"evaluation: {verdict.verdict}" + (f" ({', '.join(verdict.failed)})" if verdict.failed else ""))
    for sentence in verdict.advice:
        say(f"evaluation: {sentence}")


def _digest(manifests: Mapping[str, Manifest], name: str) -> str | None:
    return manifests[name].digest if name in manifests else None


def _contest(entered: Mapping[str, Entrant], measurer: Measurer, drawing: Drawing) -> Contest:
    """The candidate, what it is held against, and that with less noise, each on the grid that it ships."""
    names = ("tuned", "anchor" if "anchor" in entered else "base", _against(entered))
    measured: dict[str, Measured] = {}
    with Progress("evaluation: the gate", len(set(names)) + len(SCALES) - 1) as progress:
        for name in dict.fromkeys(names):
            each = entered[name]
            measured[name] = measurer.measure(each.samples(drawing, measurer.device))
            progress.update()
        candidate, anchor, incumbent = (measured[name] for name in names)
        curve = NoiseCurve.of(_draw(entered[names[2]], measurer), drawing, measurer, incumbent, progress)
    return Contest(candidate, incumbent, anchor, curve, drawing.prompt)


def _scored(
    section: Evaluation,
    entered: Mapping[str, Entrant],
    measurer: Measurer,
    drawing: Drawing,
    facts: DataFacts,
    inputs: Mapping[str, Path],
) -> dict[str, dict[str, Scored]]:
    """What rewards say of the gate's samples, those that GRPO was paid and those that nothing is trained on;
    the former not of forecasts, for they know nothing of these occasions."""
    evaluated = section.rewards or ()
    materials = Materials(inputs["reward"], measurer.device)
    lists = {
        ONLY_EVALUATED: build_rewards(evaluated[1:] if facts.prompts_alone else evaluated, materials)
    }  # of prompts alone the first one judges
    if isinstance(measurer.reward, PaidRewards):
        lists[PAID] = list(measurer.reward.rewards)
    elif facts.context is None:
        lists[PAID] = build_rewards(rewards_paid(inputs["tuned"]), materials)
    names = {"tuned": "tuned", "anchor": "anchor" if "anchor" in entered else "base"}
    names |= {"incumbent": "incumbent"} if "incumbent" in entered else {}
    drawn = {name: entered[each].samples(drawing, measurer.device) for name, each in names.items()}
    return score_rewards(lists, drawn, facts, drawing.prompt, measurer.device, shown_only=(PAID,))


def _draw(entrant: Entrant, measurer: Measurer) -> DrawFrom:
    """Samples of an entrant from any noise."""
    model = entrant.model(measurer.device)
    return lambda drawing: entrant.drawn(drawing, model)


def _against(entered: Mapping[str, Entrant]) -> Against:
    """What a gain is counted from."""
    if "incumbent" in entered:
        return "incumbent"
    return "anchor" if "anchor" in entered else "base"


def _judged(
    section: Evaluation,
    contest: Contest,
    measurer: Measurer,
    entered: Mapping[str, Entrant],
    real: Mapping[str, float],
    scored: Mapping[str, Scored],
    context: Context[Evaluation],
) -> tuple[Verdict, dict[str, dict[str, float]]]:
    """The verdict, with its advice, and the differences that it rests on."""
    trial, against = int(context.told["trial"]), _against(entered)
    difference = compare(
        contest,
        measurer,
        section,
        level_of(trial, section.false_promotions),
        context.manifests["tuned"].digest,
    )
    verdict = decide(
        section,
        against=against,
        trial=trial,
        num_evaluations=entered["tuned"].num_evaluations,
        against_evaluations=entered[against].num_evaluations,
        difference=difference,
        judge_on_real=None if measurer.training is None else real["judge_accuracy"],
        judge_on_anchor=contest.anchor.figures["judge_accuracy"],
        num_real=len(measurer.held_out),
        diversity_of_real=real["diversity"] / (contest.anchor.figures["diversity"] or math.inf),
        rewards=scored,
    )
    training = json.loads((context.inputs["tuned"] / "curve.json").read_text())
    target = json.loads((context.inputs["tuned"] / "grpo.json").read_text()).get("kl_target")
    bounds = None if measurer.training is None else real
    told = advice(verdict, difference, contest.incumbent.figures, bounds, training, target)
    return verdict.model_copy(update={"advice": told}), difference


def _read(
    models: Models, trained: int, drawing: Drawing, measurer: Measurer, reference: Reference
) -> dict[str, Read]:
    """What the judge takes samples of every model on the trained grid for, and held-out real data."""
    held_out = reference.held_out
    real = measurer.measure(in_parts(held_out.data, held_out.prompts))
    return read_of(models, trained, drawing.prompt, Read(held_out.prompts, real.told))


def _parts_of_accuracy(read: Mapping[str, Read], facts: DataFacts) -> dict[str, Any]:
    """By what prompts demand and by what training has seen, where there is such a thing."""
    found = {"accuracy_by_set": by_set(read, facts), "accuracy_by_attribute": by_attribute(read, facts)}
    return {name: rows for name, rows in found.items() if rows}


def _controls(
    entered: Mapping[str, Entrant], measurer: Measurer, drawing: Drawing, models: Models, trained: Path
) -> dict[str, Any]:
    """What could be had without training: less noise, and the best of several samples of the base."""
    curves, names = {}, list(dict.fromkeys(("base", _against(entered))))
    base, (by, choose) = entered["base"], chooser(trained, measurer)
    drawings = [drawing, *(drawing.anew("best of", index) for index in range(1, BEST_OF))]
    with Progress("evaluation: controls", len(names) * (len(SCALES) - 1) + 1) as progress:
        for name in names:
            each = entered[name]
            whole = models[name][each.num_evaluations]
            curves[name] = NoiseCurve.of(_draw(each, measurer), drawing, measurer, whole, progress).rows()
        best = measurer.measure(best_of(base.model(measurer.device), base.grid, drawings, choose))
        progress.update()
    return {
        "noise_scale": curves,
        "best_of": {
            "num": BEST_OF,
            "chosen_by": by,
            "evaluations": BEST_OF * base.num_evaluations,
            **best.figures,
        },
    }


def _judge_curve(
    tuned: Path, measurer: Measurer, drawing: Drawing, entrant: Entrant
) -> list[dict[str, Any]]:
    """The judge's figures of the snapshots that GRPO left, by the number of rollouts."""
    model, rows = load_model(tuned, "raw", measurer.device), []
    snapshots = sorted((tuned / "snapshots").glob("*.safetensors"))
    with Progress("evaluation: snapshots", len(snapshots)) as progress:
        for path in snapshots:
            load_weights(model.network, path)
            measured = measurer.measure(entrant.drawn(drawing, model))
            rows.append({"rollout": int(path.stem), **measured.figures})
            progress.update()
    return rows
