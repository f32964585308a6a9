"""What rewards say of the gate's samples: those that were paid, and those that are only evaluated."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flowmap.data.facts import DataFacts
from flowmap.errors import RewardError
from flowmap.evaluation.advice import advice
from flowmap.evaluation.gate import decide
from flowmap.evaluation.scored_rewards import Scored, score_rewards
from flowmap.rewards.protocol import FunctionReward, Samples, Weighted
from flowmap.settings import Evaluation, GrpoFinetuning, PythonSettings, load_config

SPLITS = {"base": 1, "reward": 1, "judge": 1, "holdout": 1}
FACTS = DataFacts(
    modality="points",
    prompts=("a", "b"),
    shape=(2,),
    num_read=4,
    num_duplicates=0,
    splits=SPLITS,
    counts={"a": SPLITS, "b": SPLITS},
    expectations=(),
)
PROMPT = torch.tensor([0] * 6 + [1] * 6)


def parts(shift: float, size: int = 5) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Parts that do not end where prompts do."""
    x = torch.randn(12, 2, generator=torch.Generator().manual_seed(0)) + shift
    return list(zip(x.split(size), PROMPT.split(size), strict=True))


def both(function: Any, where: str, size: int = 5) -> dict[str, dict[str, Scored]]:
    """What a function says as the only reward of a list."""
    lists = {where: [Weighted(FunctionReward(function, "mine"))], "other": []}
    drawn = {"tuned": parts(0.5, size), "anchor": parts(0.0, size)}
    return score_rewards(lists, drawn, FACTS, PROMPT, torch.device("cpu"), shown_only=("paid",))


def scored(function: Any, size: int = 5) -> Scored:
    found = both(function, "evaluation.rewards", size)
    assert found["other"] == {}
    return found["evaluation.rewards"]["mine"]


def test_a_reward_sees_whole_groups_and_pairs_are_compared() -> None:
    seen: list[str] = []

    def first(samples: Samples) -> torch.Tensor:
        assert samples.data.shape[1:] == (6, 2)
        seen.extend(samples.prompts)
        return samples.data[..., 0]

    found = scored(first)
    assert seen == ["a", "b", "a", "b"]
    for end in ("mean", "low", "high"):
        assert found.difference[end] == pytest.approx(0.5, abs=1e-5)
    assert found.means["tuned"] - found.means["anchor"] == pytest.approx(0.5, abs=1e-5)
    anchor = torch.cat([x for x, _ in parts(0.0)])[:, 0].double().numpy()
    assert found.spread == pytest.approx(np.std(anchor), rel=1e-5)
    assert scored(first, size=12) == found


def test_samples_without_a_verdict_are_left_out_and_too_many_are_an_error() -> None:
    def some(samples: Samples) -> torch.Tensor:
        values = samples.data[..., 0].clone()
        values[:, 0] = math.nan
        return values

    assert scored(some).difference["mean"] == pytest.approx(0.5, abs=1e-5)
    with pytest.raises(
        RewardError, match=r"evaluation.rewards: mine gave no verdict for 100% of the samples of tuned"
    ):
        scored(lambda samples: torch.full(samples.data.shape[:2], math.nan))


def test_what_decides_nothing_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    silent = both(lambda samples: torch.full(samples.data.shape[:2], math.nan), "paid")
    assert silent["paid"] == {}
    told = capsys.readouterr().err
    assert "what mine paid is not shown: paid: mine gave no verdict for 100% of the samples of tuned" in told

    def away(samples: Samples) -> torch.Tensor:
        raise RewardError("http://there: connection refused")

    assert both(away, "paid")["paid"] == {}
    assert "what mine paid is not shown: http://there: connection refused" in capsys.readouterr().err
    with pytest.raises(RewardError, match="connection refused"):
        both(away, "evaluation.rewards")
    assert both(lambda samples: samples.data[..., 0], "paid")["paid"].keys() == {"mine"}


def verdict_with(low: float) -> Any:
    gained, kept = {"mean": 0.01, "low": 0.005, "high": 0.006}, {"mean": 1.0, "low": 0.99, "high": 1.01}
    gains = (
        "judge_score",
        "above_noise_scale",
        "judge_accuracy",
        "kid_judge",
        "recall",
        "coverage",
        "copies",
    )
    difference = {"fd_judge": kept, "diversity": kept} | dict(zip(gains, [gained] * len(gains), strict=True))
    interval = {"mean": low, "low": low, "high": low}
    return decide(
        Evaluation(reward_tolerance=0.2),
        against="base",
        trial=1,
        num_evaluations=4,
        against_evaluations=4,
        difference=difference,
        judge_on_real=0.95,
        judge_on_anchor=0.9,
        num_real=100,
        diversity_of_real=1.0,
        rewards={"clip": Scored({}, interval, spread=2.0)},
    )


def test_a_loss_of_what_nobody_was_paid_for_rejects() -> None:
    assert verdict_with(-0.39).verdict == "promote"
    rejected = verdict_with(-0.41)
    assert rejected.failed == ["reward clip"]
    known = {"judge_score": {"mean": 0.01}, "kid_judge": {"mean": 0.01}}
    (sentence,) = advice(rejected, known, {}, {}, [])
    assert sentence.startswith("What GRPO was not paid for fell (clip)")
    assert rejected.criteria[-1].threshold == pytest.approx(-0.4)
    assert verdict_with(math.nan).failed == ["reward clip"]


def test_their_files_travel_and_their_names_differ(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def edges(samples):\n    return samples.data[..., 0]\n")
    config = tmp_path / "c.yaml"
    config.write_text(
        "name: x\nevaluation: {rewards: [{kind: python, function: 'mine:edges'}]}\n"
        "grpo_finetuning: {rewards: [{kind: mmd}]}\n"
    )
    loaded = load_config(config)
    assert loaded.evaluation.rewards is not None
    assert isinstance(loaded.evaluation.rewards[0], PythonSettings)
    assert loaded.evaluation.rewards[0].source is not None
    assert "source" not in GrpoFinetuning().decisive()
    with pytest.raises(ValueError, match="two rewards are called mmd"):
        Evaluation.model_validate({"rewards": [{"kind": "mmd"}, {"kind": "mmd"}]})
