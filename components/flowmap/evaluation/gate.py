"""The gate: every criterion with its figure and its threshold, and the verdict that follows from them.

A gain is one over the incumbent, and each candidate of a name has less of a chance to seem to have one:
the levels add up to `evaluation.false_promotions`. What may be lost is counted from the anchor, which stays
where it is, so that small losses do not add up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from flowmap.evaluation.controls import NoiseCurve
from flowmap.evaluation.distances import Array
from flowmap.evaluation.intervals import (
    LEVEL,
    UNKNOWN,
    Interval,
    distance_intervals,
    ratio_interval,
    share_interval,
    stratified_interval,
)
from flowmap.evaluation.measure import Measured, Measurer
from flowmap.evaluation.scored_rewards import Scored
from flowmap.registry.evaluation_result import Against, Criterion, Relation, Verdict
from flowmap.seeding import derived_seed
from flowmap.settings import Evaluation

_SPREAD_RESAMPLES = 500
# What distances are to, and what the judge says.
_WORDS_OF_DATA = (
    "real data",
    "the judge's log-probability, counted between chance and what real data get",
)
_WORDS_OF_PROMPTS = "the baseline's pictures", "the judge's reward"
_LEAST_GAIN = 1e-3  # of the score: what equals something already there but for rounding has gained nothing
_JUDGE_ERRORS = 3.0  # standard errors that the judge may read real data worse than samples by chance


def level_of(trial: int, false_promotions: float) -> float:
    """The chance of a false gain that the trial of that number, from 1, may take.

    Over all trials they add up to `false_promotions`: 1/2, 1/6, 1/12, ... of it.
    """
    return false_promotions / (trial * (trial + 1))


@dataclass(frozen=True)
class Contest:
    """What the gate looks at: samples of three models from the same noise.

    Attributes:
        candidate, incumbent, anchor: as they were measured, each on the grid that it ships; the incumbent is
            the anchor where no candidate was ever promoted.
        curve: the incumbent with its noise scaled down.
        prompt: of each pair, (N,).
    """

    candidate: Measured
    incumbent: Measured
    anchor: Measured
    curve: NoiseCurve
    prompt: Tensor


def compare(
    contest: Contest, measurer: Measurer, section: Evaluation, level: float, seed: str
) -> dict[str, Interval]:
    """Every difference with its interval, candidate less the other one: `gains` and `losses`."""
    return {**gains(contest, level), **losses(contest, measurer, section, seed)}


def gains(contest: Contest, level: float) -> dict[str, Interval]:
    """Over the incumbent, with the interval of a trial's own level.

    `judge_score`, `judge_accuracy`, `reward`, and `above_noise_scale`: the score over the incumbent with its
    noise so small that it has the candidate's diversity.
    """
    new, old, prompt = contest.candidate, contest.incumbent, contest.prompt.numpy()

    def gain(value: Tensor, over: Tensor) -> Interval:
        return stratified_interval(_array(value) - _array(over), prompt, level)

    return {
        "judge_score": gain(new.score, old.score),
        "above_noise_scale": gain(new.score, contest.curve.score_at(new.figures["diversity"])),
        "judge_accuracy": gain(new.right, old.right),
        "reward": gain(new.reward, old.reward),
    }


def losses(contest: Contest, measurer: Measurer, section: Evaluation, seed: str) -> dict[str, Interval]:
    """Against the anchor, with 95 % intervals: `kid_judge`, `recall`, `coverage`, `copies` where there are
    training data, and the ratios `fd_judge` and `diversity`."""
    new, anchor, prompt = contest.candidate, contest.anchor, contest.prompt.numpy()
    copies = {} if measurer.training is None else {"copies": _copies(new, anchor, contest.prompt)}
    found = dict.fromkeys(("recall", "coverage", "diversity", *copies), UNKNOWN)
    if new.reach is not None and anchor.reach is not None:
        ratio_seed = derived_seed(seed, "spread") % 2**32
        found = {
            "recall": share_interval(anchor.reach.recalled, new.reach.recalled),
            "coverage": share_interval(anchor.reach.covered, new.reach.covered),
            "diversity": ratio_interval(anchor.moments, new.moments, _SPREAD_RESAMPLES, ratio_seed),
            **copies,
        }
    distances = distance_intervals(
        _array(anchor.features),
        _array(new.features),
        _array(measurer.held_out),
        prompt,
        section.resamples,
        derived_seed(seed, "distances") % 2**32,
    )
    return {**found, **distances}


def _copies(new: Measured, anchor: Measured, prompt: Tensor) -> Interval:
    return stratified_interval(_array(new.copied) - _array(anchor.copied), prompt.numpy())


def decide(
    section: Evaluation,
    *,
    against: Against,
    trial: int,
    num_evaluations: int,
    against_evaluations: int,
    difference: Mapping[str, Mapping[str, float]],
    judge_on_real: float | None,
    judge_on_anchor: float,
    num_real: int,
    diversity_of_real: float,
    rewards: Mapping[str, Scored] | None = None,
) -> Verdict:
    """Apply the gate.

    Args:
        against: what a gain is counted from.
        trial: the number of this candidate among all of its name.
        num_evaluations, against_evaluations: of the grid that the candidate was trained on and ships, and
            of the incumbent's own.
        difference: what `compare` found.
        judge_on_real, judge_on_anchor: the judge's accuracy on held-out real data, `num_real` of them, and
            on the anchor's samples; None where a reward judges, which no data could be too few for.
        diversity_of_real: real data's, over the anchor's: an anchor that mixes prompts up varies more than
            they do, and to lose that is no loss.
        rewards: what those say that are only evaluated.
    """
    real, score = _WORDS_OF_DATA if judge_on_real is not None else _WORDS_OF_PROMPTS
    criteria = (
        *(() if judge_on_real is None else (_fit_judge(judge_on_real, judge_on_anchor, num_real),)),
        _criterion(
            "judge_score",
            f"lower end of the interval of {score}, candidate less {against}",
            difference["judge_score"]["low"],
            ">",
            _LEAST_GAIN,
        ),
        _criterion(
            "above_noise_scale",
            f"the same, less the {against} with its start noise so small that its samples vary as little as "
            "the candidate's",
            difference["above_noise_scale"]["low"],
            ">",
            _LEAST_GAIN,
        ),
        _criterion(
            "kid_judge",
            f"upper end of the interval of the kernel distance to {real}, candidate less anchor",
            difference["kid_judge"]["high"],
            "<=",
            section.kid_tolerance,
        ),
        _criterion(
            "fd_judge",
            f"upper end of the interval of the Frechet distance to {real}, over the anchor's",
            difference["fd_judge"]["high"],
            "<=",
            1 + section.frechet_tolerance,
        ),
        _criterion(
            "recall",
            f"lower end of the interval of the share of {real} within reach of the samples, candidate "
            "less anchor",
            difference["recall"]["low"],
            ">=",
            -section.recall_tolerance,
        ),
        _criterion(
            "coverage",
            f"lower end of the interval of the share of {real} that have a sample within reach, candidate "
            "less anchor",
            difference["coverage"]["low"],
            ">=",
            -section.coverage_tolerance,
        ),
        _criterion(
            "diversity",
            "lower end of the interval of the spread of samples within a prompt, over the anchor's; the "
            f"threshold is that of {real} where it is smaller than the anchor's",
            difference["diversity"]["low"],
            ">=",
            (1 - section.diversity_tolerance) * min(1.0, diversity_of_real),
        ),
        *((_few_copies(difference["copies"], section),) if "copies" in difference else ()),
        *(
            _criterion(
                f"reward {name}",
                "lower end of the interval of a reward that nothing was trained on, candidate less anchor",
                scored.difference["low"],
                ">=",
                -section.reward_tolerance * scored.spread,
            )
            for name, scored in (rewards or {}).items()
        ),
    )
    return Verdict(
        verdict="promote" if all(criterion.passed for criterion in criteria) else "reject",
        against=against,
        num_evaluations=num_evaluations,
        against_evaluations=against_evaluations,
        criteria=criteria,
        trial=trial,
        level=level_of(trial, section.false_promotions),
    )


def _fit_judge(on_real: float, on_anchor: float, num_real: int) -> Criterion:
    error = (max(on_real * (1 - on_real), LEVEL) / num_real) ** 0.5
    return _criterion(
        "judge",
        "the judge's accuracy on held-out real data, against the anchor's samples less three standard "
        "errors: one that reads real data worse has seen too few of them to decide",
        on_real,
        ">=",
        on_anchor - _JUDGE_ERRORS * error,
    )


def _few_copies(difference: Mapping[str, float], section: Evaluation) -> Criterion:
    return _criterion(
        "copies",
        "upper end of the interval of the share of samples as near to training data as a copy, "
        "candidate less anchor",
        difference["high"],
        "<=",
        section.copies_tolerance,
    )


def _array(value: Tensor) -> Array:
    found: Array = value.double().cpu().numpy()
    return found


def _criterion(name: str, meaning: str, figure: float, relation: Relation, threshold: float) -> Criterion:
    passed = {">": figure > threshold, ">=": figure >= threshold, "<=": figure <= threshold}[relation]
    return Criterion(
        name=name,
        meaning=meaning,
        figure=figure,
        relation=relation,
        threshold=threshold,
        passed=bool(passed),
    )
