"""Evaluation of prompts without data: a reward as the judge, and features that distances are measured in."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
)

from flowmap.data.dataset import Split
from flowmap.data.facts import DataFacts
from flowmap.errors import ConfigError, RewardError
from flowmap.evaluation.advice import advice
from flowmap.evaluation.breakdown import Read, by_attribute
from flowmap.evaluation.controls import NoiseCurve, chooser
from flowmap.evaluation.distances import cmmd
from flowmap.evaluation.features import features_of, small_pictures
from flowmap.evaluation.gate import Contest, compare, decide
from flowmap.evaluation.measure import Measured, Measurer
from flowmap.evaluation.reward_judge import PaidRewards, RewardJudge
from flowmap.evaluation.wording import columns_of
from flowmap.prompts.facts import PromptFacts
from flowmap.registry.evaluation_result import Verdict
from flowmap.rewards.protocol import FunctionReward, Samples, Weighted
from flowmap.settings import Evaluation, Pretrained

CPU = torch.device("cpu")
FACTS = DataFacts(
    modality="images",
    prompts=("a bright one", "a dark one"),
    shape=(3, 16, 16),
    num_read=2,
    num_duplicates=0,
    splits=dict.fromkeys(("base", "reward", "judge", "holdout"), 0),
    counts={},
    expectations=(),
    prompt_facts=PromptFacts(attributes={"kind": ("light", "night")}, told=({"sign": 1}, {"sign": -1})),
)
PROMPT = torch.arange(2).repeat_interleave(40)


def brightness(samples: Samples) -> Tensor:
    sign = torch.tensor([float(facts["sign"]) for facts in samples.facts])
    return samples.data.flatten(2).mean(2) * sign[:, None]


def reward(function: Callable[[Samples], Tensor] = brightness) -> FunctionReward:
    return FunctionReward(function, "bright")


def pictures(lift: float, seed: int = 0) -> Tensor:
    """Samples that are lifted the way that their prompt asks for."""
    noise = 0.3 * torch.randn(80, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    return noise + lift * (1 - 2 * PROMPT).view(-1, 1, 1, 1)


def judge(fulfilled: float | None = 0.2) -> RewardJudge:
    return RewardJudge(reward(), FACTS, small_pictures, fulfilled)


def measurer(fulfilled: float = 0.2) -> Measurer:
    paid = PaidRewards([Weighted(reward(), 2.0)], FACTS)
    held_out = Split(pictures(0.3, seed=9), PROMPT)
    return Measurer.of(judge(fulfilled), paid, None, held_out, 80, CPU)


def measured(lift: float, seed: int = 0, fulfilled: float = 0.2) -> Measured:
    return measurer(fulfilled).measure([(pictures(lift, seed), PROMPT)])


def decided(difference: Mapping[str, Mapping[str, float]]) -> Verdict:
    """The gate's verdict where there are no data."""
    return decide(
        Evaluation(),
        against="base",
        trial=1,
        num_evaluations=4,
        against_evaluations=4,
        difference=difference,
        judge_on_real=None,
        judge_on_anchor=0.9,
        num_real=40,
        diversity_of_real=1.0,
    )


def test_a_sample_is_as_asked_from_a_score_on() -> None:
    found = measured(0.3)
    assert found.figures["judge_accuracy"] == 1
    assert found.figures["judge_score"] == pytest.approx(0.3, abs=0.02)
    assert found.figures["reward"] == pytest.approx(0.6, abs=0.04)
    assert measured(0.0).figures["judge_accuracy"] == 0
    assert found.figures["copies"] == 0


def test_left_open_it_is_what_the_baseline_s_own_samples_get() -> None:
    one = judge(None)
    one.set_by(pictures(0.3), PROMPT, CPU)
    torch.testing.assert_close(one.fulfilled, torch.tensor([0.3, 0.3]), atol=0.02, rtol=0)
    assert one.read(pictures(0.4), PROMPT).right.all()
    assert (one.read(pictures(0.2), PROMPT).told == -1).all()


def test_no_verdict_counts_as_the_worst_and_none_at_all_is_told() -> None:
    def unsure(samples: Samples) -> Tensor:
        scores = brightness(samples)
        return torch.where(torch.arange(len(scores))[:, None] % 4 == 0, math.nan, scores)

    found = RewardJudge(reward(unsure), FACTS, small_pictures, 0.2).read(pictures(0.3), PROMPT)
    torch.testing.assert_close(found.score[0], found.score.min())
    assert not found.score.isnan().any()
    silent = RewardJudge(reward(lambda samples: brightness(samples) * math.nan), FACTS, small_pictures)
    with pytest.raises(RewardError, match="bright is the judge, and gave no verdict on any of 80"):
        silent.read(pictures(0.3), PROMPT)


def test_the_gate_promotes_a_gain_and_asks_nothing_of_data() -> None:
    with_reward = measurer()
    old = measured(0.1, fulfilled=0)  # all of them are, so how they vary is known

    def verdict(candidate: Measured) -> tuple[str, list[str]]:
        contest = Contest(candidate, old, old, NoiseCurve((old,)), PROMPT)
        difference = compare(contest, with_reward, Evaluation(), 0.025, "x")
        assert "copies" not in difference
        found = decided(difference)
        told = next(each.meaning for each in found.criteria if each.name == "kid_judge")
        assert "the baseline's pictures" in told
        assert not {"judge", "copies"} & {each.name for each in found.criteria}
        return found.verdict, list(found.failed)

    assert verdict(measured(0.3, seed=1, fulfilled=0)) == ("promote", [])
    assert verdict(measured(0.1, seed=1, fulfilled=0))[1][0] == "judge_score"
    assert "kid_judge" in verdict(measured(0.9, seed=1, fulfilled=0))[1]


def test_the_best_of_several_is_chosen_by_what_grpo_was_paid(tmp_path: Path) -> None:
    name, choose = chooser(tmp_path, measurer())
    assert name == "rewards that GRPO was paid"
    assert choose(pictures(0.3), PROMPT).mean() == pytest.approx(0.6, abs=0.04)


def test_figures_are_told_by_category() -> None:
    read = Read(PROMPT, torch.where(PROMPT == 0, 0, -1))
    assert by_attribute({"tuned": read}, FACTS) == {
        "kind: light": {"tuned": 1.0},
        "kind: night": {"tuned": 0.0},
        "kind, mean of these": {"tuned": 0.5},
    }


def clip(folder: Path) -> Path:
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**small, "vocab_size": 9, "eos_token_id": 1},
        vision_config={**small, "image_size": 16, "patch_size": 8},
        projection_dim=12,
    )
    CLIPModel(config).save_pretrained(folder)
    CLIPImageProcessor(image_mean=[0.5] * 3, image_std=[0.25] * 3).save_pretrained(folder)
    return folder


def dino(folder: Path) -> Path:
    config = Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8, mlp_ratio=1
    )
    Dinov2Model(config).save_pretrained(folder)
    CLIPImageProcessor().save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("make", "width", "named"), [(clip, 12, ("CLIP-FID", True)), (dino, 16, ("FD-DINOv2", False))]
)
def test_distances_are_measured_in_a_model_s_features(
    tmp_path: Path, make: Callable[[Path], Path], width: int, named: tuple[str, bool]
) -> None:
    folder = make(tmp_path / "model")
    features = features_of(Pretrained(source=str(folder)), CPU)
    found = features(pictures(0.3)[:5])
    assert found.shape == (5, width)
    assert found.std(0).min() > 0
    torch.testing.assert_close(found[:2], features(pictures(0.3)[:2]))
    assert (features.frechet, features.are_clip) == named


def test_in_a_clip_model_s_features_there_is_cmmd_too(tmp_path: Path) -> None:
    features = features_of(Pretrained(source=str(clip(tmp_path / "model"))), CPU)
    paid = PaidRewards([Weighted(reward(), 2.0)], FACTS)
    held_out = Split(pictures(0.3, seed=9), PROMPT)
    measurer = Measurer.of(RewardJudge(reward(), FACTS, features, 0.2), paid, None, held_out, 80, CPU)
    near, far = (measurer.measure([(pictures(lift), PROMPT)]).figures["cmmd"] for lift in (0.3, 0.9))
    assert 0 < near < far
    broken = pictures(0.3)
    broken[0] = math.nan
    assert math.isnan(measurer.measure([(broken, PROMPT)]).figures["cmmd"])
    assert "cmmd" not in measured(0.3).figures
    assert columns_of(FACTS, "CLIP-FID") | {"fd_judge": "CLIP-FID", "cmmd": "CMMD"} == columns_of(
        FACTS, "CLIP-FID"
    )
    assert columns_of(FACTS)["fd_judge"] == "fd"


def test_cmmd_is_its_formula() -> None:
    """Of two points at right angles, wherever they lie on their rays; and of a set with itself."""
    x, y = np.array([[3.0, 0.0]] * 2), np.array([[0.0, 0.5]] * 3)
    assert cmmd(x, y) == pytest.approx(1000 * 2 * (1 - math.exp(-2 / 200)))
    cloud = np.random.default_rng(0).standard_normal((50, 4))
    assert cmmd(cloud, cloud) == pytest.approx(0, abs=1e-9)


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ConfigError, match=r"evaluation.features: .* is a model of the kind bert"):
        features_of(Pretrained(source=str(tmp_path)), CPU)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"evaluation.features"):
        features_of(Pretrained(source=str(tmp_path)), CPU)


@pytest.mark.parametrize(
    ("kl_target", "told"),
    [(0.3, "lower grpo_finetuning.kl_target"), (None, "raise grpo_finetuning.kl_weight")],
)
def test_advice_names_what_is_set(kl_target: float | None, told: str) -> None:
    old = measured(0.1, fulfilled=0)
    contest = Contest(measured(0.9, seed=1, fulfilled=0), old, old, NoiseCurve((old,)), PROMPT)
    difference = compare(contest, measurer(), Evaluation(), 0.025, "x")
    verdict = decided(difference)
    (sentence,) = advice(verdict, difference, old.figures, None, [], kl_target)
    assert told in sentence
    assert "what the baseline draws" in sentence
    assert "mmd" not in sentence
