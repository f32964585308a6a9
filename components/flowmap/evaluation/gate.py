"""The gate: every criterion with its figure and its threshold, and the verdict that follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from flowmap.registry.evaluation_result import Criterion, Verdict
from flowmap.settings import Evaluation


def decide(
    section: Evaluation,
    *,
    against: Literal["base", "incumbent"],
    num_evaluations: int,
    against_evaluations: int,
    difference: Mapping[str, Mapping[str, float]],
    incumbent: Mapping[str, float],
    candidate: Mapping[str, float],
) -> Verdict:
    """Apply the gate.

    Args:
        difference: of paired samples, candidate against incumbent, each with its interval: the gain of the
            judge's log-probability, the difference of KID, the ratio of the Frechet distances.
        num_evaluations, against_evaluations: of the grid that the candidate was trained on and ships, and
            of the incumbent's own.
        incumbent, candidate: figures on those grids; `incumbent` is the base, on the candidate's, where
            there is no incumbent.
    """
    criteria = (
        _criterion(
            "judge_difference",
            f"lower end of the interval of the judge's log-probability, candidate less {against}, counted "
            "up to what real data get",
            difference["judge_log_probability"]["low"],
            ">",
            0.0,
        ),
        _criterion(
            "kid_judge",
            f"upper end of the interval of the kernel distance to real images, candidate less {against}",
            difference["kid_judge"]["high"],
            "<=",
            section.kid_tolerance,
        ),
        _criterion(
            "fd_judge",
            f"upper end of the interval of the Frechet distance to real images, over the {against}'s",
            difference["fd_judge"]["high"],
            "<=",
            1 + section.frechet_tolerance,
        ),
        _criterion(
            "recall",
            f"share of real images within reach of the samples, at most {section.recall_tolerance:g} below "
            f"the {against}'s",
            candidate["recall"],
            ">=",
            incumbent["recall"] - section.recall_tolerance,
        ),
        _criterion(
            "diversity",
            f"spread of samples within a prompt, at most {section.diversity_tolerance:.0%} below the "
            f"{against}'s",
            candidate["diversity"],
            ">=",
            incumbent["diversity"] * (1 - section.diversity_tolerance),
        ),
    )
    return Verdict(
        verdict="promote" if all(criterion.passed for criterion in criteria) else "reject",
        against=against,
        num_evaluations=num_evaluations,
        against_evaluations=against_evaluations,
        criteria=criteria,
    )


def _criterion(
    name: str, meaning: str, figure: float, relation: Literal[">", ">=", "<="], threshold: float
) -> Criterion:
    passed = {">": figure > threshold, ">=": figure >= threshold, "<=": figure <= threshold}[relation]
    return Criterion(
        name=name,
        meaning=meaning,
        figure=figure,
        relation=relation,
        threshold=threshold,
        passed=bool(passed),
    )
