"""What the report says in words: the verdict with the figures that it turns on, and what they are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowmap.data.facts import DataFacts
from flowmap.registry.evaluation_result import Verdict

Figures = Mapping[str, float]
_COLUMNS = {
    "judge_accuracy": "judge accuracy",
    "judge_score": "score",
    "judge_log_probability": "log-probability",
    "fd_judge": "fd_judge",
    "kid_judge": "kid_judge",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "diversity": "diversity",
    "copies": "copies",
    "reward": "reward",
}
# Of forecasts, of which the judge knows what came.
_WORDS_OF_FORECASTS = {
    "judge_accuracy": "hits",
    "judge_score": "minus energy score",
    "judge_log_probability": None,
    "fd_judge": "fd",
    "kid_judge": "kid",
}
# Of prompts without data, which a reward judges.
_WORDS_OF_PROMPTS = {
    "judge_accuracy": "as asked",
    "judge_score": "judge's reward",
    "judge_log_probability": None,
    "fd_judge": "fd",
    "kid_judge": "kid",
    "copies": None,
    "reward": "reward paid",
}


def columns_of(facts: DataFacts, frechet: str | None = None) -> dict[str, str]:
    """What the table of figures shows, by the figure's name.

    Args: frechet: what the Frechet distance is called, where its features have a name.
    """
    words: dict[str, str | None] = dict(_COLUMNS)
    if facts.context is not None:
        words |= _WORDS_OF_FORECASTS
    if facts.prompts_alone:
        words |= _WORDS_OF_PROMPTS
    if frechet is not None:
        words["fd_judge"] = frechet
    if frechet == "CLIP-FID":
        words["cmmd"] = "CMMD"
    return {name: word for name, word in words.items() if word is not None}


def sentence(facts: DataFacts, verdict: Verdict, metrics: Mapping[str, Any]) -> str:
    """The verdict in words, with the figures it turns on."""
    count, against = str(verdict.num_evaluations), str(verdict.against_evaluations)
    old, new = metrics["models"][verdict.against][against], metrics["models"]["tuned"][count]
    other = verdict.against + ("" if against == count else f" at its {against}")
    told = _of_samples if facts.context is None else _of_forecasts
    figures = (_of_prompts if facts.prompts_alone else told)(count, other, old, new, metrics["real"])
    if verdict.verdict == "promote":
        better = f"The candidate is better than the {verdict.against}"
        return f"{better} and gives up nothing the gate watches. {figures}"
    return f"The candidate does not pass: {', '.join(verdict.failed)}. {figures} {' '.join(verdict.advice)}"


def _of_samples(count: str, other: str, old: Figures, new: Figures, real: Figures) -> str:
    return (
        f"At {count} map evaluations the judge recognises the prompt in {new['judge_accuracy']:.1%} of the "
        f"samples ({other}: {old['judge_accuracy']:.1%}); the Frechet distance to real data is "
        f"{new['fd_judge']:.3g} ({other}: {old['fd_judge']:.3g}, real against real: {real['fd_judge']:.3g})."
    )


def _of_prompts(count: str, other: str, old: Figures, new: Figures, real: Figures) -> str:
    return (
        f"At {count} map evaluations {new['judge_accuracy']:.1%} of the samples are as asked ({other}: "
        f"{old['judge_accuracy']:.1%}, the baseline with its most steps: {real['judge_accuracy']:.1%}); the "
        f"judge's reward is {new['judge_score']:.4g} ({other}: {old['judge_score']:.4g})."
    )


def _of_forecasts(count: str, other: str, old: Figures, new: Figures, real: Figures) -> str:
    return (
        f"At {count} map evaluations the energy score of forecasts for occasions that nobody has seen is "
        f"{-new['judge_score']:.4f} ({other}: {-old['judge_score']:.4f}; lower is better), and "
        f"{new['judge_accuracy']:.1%} of them hit ({other}: {old['judge_accuracy']:.1%})."
    )
