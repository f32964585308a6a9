"""What an evaluation measures with: the judge, what samples are compared with, and the noise that models
are drawn from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import nn

from flowmap.data.dataset import Split, read_split
from flowmap.data.facts import DataFacts
from flowmap.evaluation.drawing import Drawing, at_once
from flowmap.evaluation.features import features_of
from flowmap.evaluation.judge import Judge, Moved, Panel, train_judge
from flowmap.evaluation.measure import Measurer
from flowmap.evaluation.outcomes import outcomes_of
from flowmap.evaluation.reward_judge import PaidRewards, RewardJudge
from flowmap.evaluation.shown import are_large
from flowmap.modality import forecasting, judging
from flowmap.modality.protocols import MovingJudging
from flowmap.models.baseline import load_baseline
from flowmap.models.storing import read_model_facts
from flowmap.progress import Progress
from flowmap.rewards.building import Materials, build_rewards
from flowmap.rewards.preference import read_preference
from flowmap.seeding import derived_seed, generator_for
from flowmap.settings import AnyReward, Evaluation, GrpoFinetuning
from flowmap.training.devices import device


def judge_seed(data: str) -> int:
    """It follows from the data's digest, so that nobody can train another judge until one likes it."""
    return derived_seed(data, "judge")


@dataclass(frozen=True)
class Reference:
    """What samples are compared with.

    Attributes:
        held_out: data that no training saw, or where there are none, what the many-step baseline draws.
        other: others of the same kind, which data were trained on.
        are_data: whether they are data.
    """

    held_out: Split
    other: Split
    are_data: bool = True


def reference_of(
    section: Evaluation, inputs: Mapping[str, Path], facts: DataFacts, prompt: torch.Tensor, seed: int
) -> Reference:
    """Args: prompt: of the samples that are to be compared; seed: of pictures, where there are no data."""
    if not facts.prompts_alone:
        return Reference(read_split(inputs["data"], "holdout"), read_split(inputs["data"], "base"))
    baseline = load_baseline(inputs["base"], device())
    drawing, steps = drawing_of(str(seed), "reference", facts, prompt, inputs), section.most_steps
    # Half precision is finer than what a file has of a picture.
    dtype = torch.float16 if are_large(facts.shape) else torch.float32
    pictures, done = torch.empty(len(prompt), *facts.shape, dtype=dtype), 0
    with Progress(
        "evaluation: the baseline's pictures", -(-len(prompt) // at_once(drawing.noise.shape[1:]))
    ) as progress:
        for data, _ in drawing.integrated(baseline, steps):
            pictures[done : done + len(data)] = data.to("cpu", dtype)
            done += len(data)
            progress.update()
    one, other = (Split(pictures[half::2], prompt[half::2]) for half in (0, 1))
    return Reference(one, other, are_data=False)


def measurer_of(
    section: Evaluation,
    inputs: Mapping[str, Path],
    facts: DataFacts,
    reference: Reference,
    num_samples: int,
    seed: int,
) -> Measurer:
    """The judge, trained now where there are data for it, and what GRPO was paid by, where there is a GPU on
    it.

    Args: inputs: `data`, `reward` and, without data, `tuned`; seed: of the judge, `judge_seed`.
    """
    judge: Judge
    reward: nn.Module
    if not reference.are_data:
        judge, reward = _of_rewards(section, inputs, facts, reference)
    else:
        reward = read_preference(inputs["reward"])[0]
        if facts.context is None:
            judge = _panel(section, inputs["data"], facts, reference.held_out, seed).to(device())
        else:
            judge = outcomes_of(inputs["data"], len(facts.prompts), forecasting(facts.modality)).to(device())
    return Measurer.of(
        judge,
        reward,
        training=reference.other if reference.are_data else None,
        held_out=reference.held_out,
        num_samples=num_samples,
        device=device(),
    )


def _of_rewards(
    section: Evaluation, inputs: Mapping[str, Path], facts: DataFacts, reference: Reference
) -> tuple[RewardJudge, PaidRewards]:
    """The first of those rewards that are only evaluated as the judge, and those that GRPO was paid."""
    assert section.rewards  # the configuration asks for one
    materials = Materials(inputs["reward"], device())
    (first,) = build_rewards(section.rewards[:1], materials)
    judge = RewardJudge(first.reward, facts, features_of(section.features, device()), section.fulfilled)
    if section.fulfilled is None:
        judge.set_by(reference.held_out.data, reference.held_out.prompts, device())
    return judge, PaidRewards(build_rewards(rewards_paid(inputs["tuned"]), materials), facts)


def rewards_paid(tuned: Path) -> tuple[AnyReward, ...]:
    """Those that a candidate was trained with."""
    grpo = GrpoFinetuning.model_validate(json.loads((tuned / "grpo.json").read_text()))
    return grpo.rewards


def _panel(section: Evaluation, data: Path, facts: DataFacts, held_out: Split, seed: int) -> Panel:
    """Trained on the judge split, calibrated on held-out data."""
    torch.manual_seed(derived_seed(seed, "weights"))
    num_prompts = len(facts.prompts)
    members = judging(facts.modality).make_judges(facts.shape, num_prompts, facts.prompt_facts)
    judge = read_split(data, "judge")
    panel = train_judge(judge, members, num_prompts, section.judge_updates, seed, _moved(section, facts))
    panel.calibrate(held_out.data, held_out.prompts)
    return panel


def _moved(section: Evaluation, facts: DataFacts) -> Moved | None:
    if (most := section.judge_shifts) is None:
        return None
    kind = cast(MovingJudging, judging(facts.modality))  # the configuration asks it of images alone
    return lambda x, generator: kind.moved(x, most, generator)


def drawing_of(
    candidate: str, purpose: str, facts: DataFacts, prompt: torch.Tensor, inputs: Mapping[str, Path]
) -> Drawing:
    """Noise that follows from the candidate's digest, so that a candidate can't draw again."""
    state_shape = read_model_facts(inputs["base"]).state_shape
    noise = torch.randn(len(prompt), *state_shape, generator=generator_for(candidate, purpose))
    return Drawing(facts.prompts, prompt, noise, (candidate, purpose))
