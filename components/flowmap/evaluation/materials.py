"""What an evaluation measures with: the judge, and the noise that models are drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from flowmap.data.dataset import Split, read_split
from flowmap.data.facts import DataFacts
from flowmap.evaluation.drawing import Drawing
from flowmap.evaluation.judge import Panel, train_judge
from flowmap.evaluation.measure import Measurer
from flowmap.evaluation.outcomes import Outcomes, outcomes_of
from flowmap.modality import forecasting, judging
from flowmap.models.storing import read_model_facts
from flowmap.rewards.preference import read_preference
from flowmap.seeding import derived_seed, generator_for
from flowmap.settings import Evaluation
from flowmap.training.devices import device


def judge_seed(data: str) -> int:
    """It follows from the data's digest, so that nobody can train another judge until one likes it."""
    return derived_seed(data, "judge")


def measurer_of(
    section: Evaluation, inputs: Mapping[str, Path], facts: DataFacts, num_samples: int, seed: int
) -> Measurer:
    """The judge, trained now, and the preference model, where there is a GPU on it.

    Args: inputs: `data` and `reward`; seed: of the judge, `judge_seed`.
    """
    held_out = read_split(inputs["data"], "holdout")
    judge: Panel | Outcomes
    if facts.context is None:
        judge = _panel(section, inputs["data"], facts, held_out, seed)
    else:
        judge = outcomes_of(inputs["data"], len(facts.prompts), forecasting(facts.modality))
    return Measurer.of(
        judge.to(device()),
        read_preference(inputs["reward"])[0],
        training=read_split(inputs["data"], "base"),
        held_out=held_out,
        num_samples=num_samples,
        num_prompts=len(facts.prompts),
        device=device(),
    )


def _panel(section: Evaluation, data: Path, facts: DataFacts, held_out: Split, seed: int) -> Panel:
    """Trained on the judge split, calibrated on held-out data."""
    torch.manual_seed(derived_seed(seed, "weights"))
    num_prompts = len(facts.prompts)
    members = judging(facts.modality).make_judges(facts.shape, num_prompts, facts.prompt_facts)
    panel = train_judge(read_split(data, "judge"), members, num_prompts, section.judge_updates, seed)
    panel.calibrate(held_out.data, held_out.prompts)
    return panel


def drawing_of(
    candidate: str, purpose: str, facts: DataFacts, prompt: torch.Tensor, inputs: Mapping[str, Path]
) -> Drawing:
    """Noise that follows from the candidate's digest, so that a candidate can't draw again."""
    state_shape = read_model_facts(inputs["base"]).state_shape
    noise = torch.randn(len(prompt), *state_shape, generator=generator_for(candidate, purpose))
    return Drawing(facts.prompts, prompt, noise, (candidate, purpose))
