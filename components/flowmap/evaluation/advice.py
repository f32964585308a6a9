"""Why a candidate was rejected, in words, and what to try: for those who did not read the method's paper."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flowmap.evaluation.intervals import Interval
from flowmap.registry.evaluation_result import Verdict

_HEAVIER = "raise grpo_finetuning.kl_weight"  # where no KL is held
_UNMOVED = 0.02  # nats of KL below which a policy has hardly left the base
_LOSSES = {
    "recall": "{} that the samples no longer reach",
    "coverage": "{} that have no sample near them",
    "diversity": "less spread among the samples of a prompt",
    "copies": "more samples that repeat training data",
}


@dataclass(frozen=True)
class _Words:
    """What samples are compared with, and what can be done about it."""

    reference: str
    left: str
    more: str
    has_mmd: bool

    def or_else(self, way: str) -> str:
        """The last ways out of several."""
        return f", {way}, or give the reward mmd more weight" if self.has_mmd else f", or {way}"


_WITH_DATA = _Words(
    "real data", "the real data", "evaluation.samples_per_prompt or data_prep.shares.holdout", has_mmd=True
)
_WITHOUT_DATA = _Words(
    "the baseline's pictures",
    "what the baseline draws",
    "evaluation.samples_per_prompt",
    has_mmd=False,
)


def advice(
    verdict: Verdict,
    difference: Mapping[str, Interval],
    incumbent: Mapping[str, float],
    real: Mapping[str, float] | None,
    training: Sequence[Mapping[str, float]],
    kl_target: float | None = None,
) -> tuple[str, ...]:
    """A sentence or two for each kind of reason; none for a candidate that passed.

    Args:
        incumbent: figures of what a gain is counted from, as the gate saw them.
        real: what real data get, where there are any.
        training: GRPO's curve, one row a rollout.
        kl_target: where that was held.
    """
    failed = set(verdict.failed)
    if not failed:
        return ()
    if math.isnan(difference["judge_score"]["mean"]) or math.isnan(difference["kid_judge"]["mean"]):
        return (
            "The candidate's samples are not finite: the training diverged. Lower "
            "grpo_finetuning.learning_rate, or hold the KL with grpo_finetuning.kl_target.",
        )
    against = verdict.against
    told: list[str] = []
    if "judge" in failed and real is not None:
        told.append(
            f"The judge reads {real['judge_accuracy']:.1%} of held-out real data as their prompt, less than "
            "of the anchor's samples, so it decides nothing. Either it has seen too few data: give it a "
            "larger data_prep.shares.judge, or more data, or of images more of each with "
            "evaluation.judge_shifts: 1. Or the anchor draws what is more typical than "
            "real data are: then there is nothing that could be shown more often."
        )
    elif "judge_score" in failed:
        told.append(_no_gain(against, difference["judge_score"], incumbent, real, training, kl_target))
    elif "above_noise_scale" in failed:
        told.append(
            f"More prompts are recognised, but no more than if the {against}'s start noise were made "
            "smaller, without any training: the samples became typical rather than right. Reward what is "
            f"wrong with them{' (a classifier, more preference pairs)' if real else ''}, and set "
            "grpo_finetuning.shared_start to false."
        )
    shorter = "lower grpo_finetuning.kl_target" if kl_target is not None else _HEAVIER
    told += _losses(verdict, difference, failed, _WITH_DATA if real else _WITHOUT_DATA, shorter)
    return tuple(told)


def _no_gain(
    against: str,
    gain: Interval,
    incumbent: Mapping[str, float],
    real: Mapping[str, float] | None,
    training: Sequence[Mapping[str, float]],
    kl_target: float | None,
) -> str:
    if real is not None and incumbent["judge_score"] >= real["judge_score"]:
        return (
            f"The {against} already shows its prompt as often as real data do ("
            f"{incumbent['judge_accuracy']:.1%} of its samples are recognised, {real['judge_accuracy']:.1%} "
            "of real data): this reward has nothing to buy. The base is a good model as it is; fine-tune it "
            "for something that real data do not have already."
        )
    least = _UNMOVED if kl_target is None else min(_UNMOVED, kl_target / 2)
    if training and max(row["kl"] for row in training) < least:
        return (
            f"The policy hardly moved (KL {training[-1]['kl']:.2g} nats): raise grpo_finetuning.rollouts or "
            "grpo_finetuning.learning_rate."
        )
    if gain["mean"] > 0:
        return (
            f"There may be a gain over the {against} ({gain['mean']:+.4f}), but so small a one could be "
            "chance: train for more grpo_finetuning.rollouts, or tell smaller gains apart with a larger "
            "evaluation.samples_per_prompt."
        )
    return (
        f"The judge sees no gain over the {against} ({gain['mean']:+.4f}), whatever the reward says: "
        "compare the rewards' curves with the judge's in the report. "
        + (
            "A reward model that is wrong about samples wants more preference pairs, or a second reward "
            "beside it such as mmd."
            if real
            else "A reward that is wrong about samples wants a second one beside it."
        )
    )


def _losses(
    verdict: Verdict, difference: Mapping[str, Interval], failed: set[str], words: _Words, shorter: str
) -> list[str]:
    told = []
    distances = sorted({"kid_judge", "fd_judge"} & failed)
    if distances:
        unsure = all(_holds(verdict, name, difference[name]["mean"]) for name in distances)
        told.append(
            f"The distance to {words.reference} may have grown too much ({', '.join(distances)}); the "
            "samples themselves are within the tolerance, and too few to be sure: take a larger "
            f"{words.more}."
            if unsure
            else f"The samples have left {words.left} ({', '.join(distances)}): {shorter}"
            f"{words.or_else('lower grpo_finetuning.rollouts')}."
        )
    lost = [meaning.format(words.reference) for name, meaning in _LOSSES.items() if name in failed]
    if lost:
        told.append(
            f"The gain is paid for with {' and '.join(lost)}: set grpo_finetuning.shared_start to "
            f"false{words.or_else(shorter)}."
        )
    if rewards := [name.removeprefix("reward ") for name in sorted(failed) if name.startswith("reward ")]:
        told.append(
            f"What GRPO was not paid for fell ({', '.join(rewards)}): {shorter}, or "
            "reward something of that kind too, and keep another for evaluation.rewards."
        )
    return told


def _holds(verdict: Verdict, name: str, figure: float) -> bool:
    """Whether a criterion would hold if the figure were certain."""
    return next(figure <= each.threshold for each in verdict.criteria if each.name == name)
