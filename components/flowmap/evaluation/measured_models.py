"""Every model at every number of map evaluations, and real data as samples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from flowmap.evaluation.drawing import Drawing, in_parts
from flowmap.evaluation.entrants import Entrant
from flowmap.evaluation.materials import Reference
from flowmap.evaluation.measure import Measured, Measurer
from flowmap.evaluation.shown import shown_indices
from flowmap.maps import grid_for, heun
from flowmap.models.baseline import load_baseline
from flowmap.progress import Progress
from flowmap.settings import Evaluation

Models = dict[str, dict[int, Measured]]
HEUN = "baseline, Heun"


def measure_models(
    section: Evaluation,
    inputs: Mapping[str, Path],
    entered: Mapping[str, Entrant],
    measurer: Measurer,
    drawing: Drawing,
    shape: tuple[int, ...],
) -> Models:
    """Every model at every number of map evaluations, from the same noise.

    Args: shape: of a datum.
    """
    counts = sorted({*section.evaluations, entered["tuned"].num_evaluations})
    baseline_counts = sorted({*section.baseline_evaluations, *counts})
    shown = shown_indices(drawing.prompt, shape)
    models: Models = {}
    with Progress("evaluation: samples", len(entered) * len(counts) + len(baseline_counts)) as progress:
        for name, entrant in entered.items():
            model = entrant.model(measurer.device)
            models[name] = {}
            for count in sorted({*counts, entrant.num_evaluations}):  # each on the grid it ships, too
                policy = entrant.policy if count == entrant.num_evaluations else None
                parts = drawing.composed(model, grid_for(count, entrant.grid, model.shift), policy)
                models[name][count] = measurer.measure(parts, shown)
                progress.update()
        baseline = load_baseline(inputs["base"], measurer.device)
        models |= {"baseline": {}, HEUN: {}}
        for count in baseline_counts:
            models["baseline"][count] = measurer.measure(drawing.integrated(baseline, count), shown)
            if count % 2 == 0:  # two evaluations a step
                models[HEUN][count] = measurer.measure(drawing.integrated(baseline, count, heun))
            progress.update()
    return models


def real_figures(measurer: Measurer, reference: Reference) -> dict[str, float]:
    """Real against real: what perfect samples would get. The Frechet distance is the floor of all others.

    Distances, recall and the like are those of the base split, of as many as there are samples; what the
    judge says is of the held-out data, and how far its confidence is from how often it is right. Without
    data both are halves of what the many-step baseline draws.
    """
    other, held_out = reference.other, reference.held_out
    measured = measurer.measure(in_parts(other.data, other.prompts))
    unseen = measurer.measure(in_parts(held_out.data, held_out.prompts))
    own = ("judge_accuracy", "judge_score", "judge_log_probability", "copies")
    return {
        **measured.figures,
        **{name: unseen.figures[name] for name in own},
        "calibration_error": measurer.judge.calibration_error,
    }
