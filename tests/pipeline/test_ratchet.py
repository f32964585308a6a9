"""Asked again and again, the gate promotes nothing that only draws what is more typical."""

from pathlib import Path

import pytest
import torch
from benchmarks.gate import Bench
from benchmarks.nulls import Player, less_noise

from flowmap.evaluation.gate import level_of
from flowmap.models.storing import load_model
from flowmap.settings import Evaluation
from tests.pipeline.runs import Finished

ROUNDS = 12
LOSSES = {"kid_judge", "fd_judge", "recall", "coverage", "diversity"}


@pytest.fixture(scope="module")
def bench(root: Path, first: Finished) -> Bench:
    steps = {
        "data": "data_prep",
        "base": "base_training",
        "reward": "reward_training",
        "tuned": "grpo_finetuning",
    }
    artifacts, made = root / "store" / "artifacts", first.digests()
    section = Evaluation(judge_updates=200, resamples=50, kid_tolerance=0.05, frechet_tolerance=0.5)
    return Bench({name: artifacts / made[step] for name, step in steps.items()}, section)


@pytest.mark.slow
def test_twelve_times_less_start_noise_is_promoted_not_once(bench: Bench) -> None:
    """A gate that asks for a gain over the last one, at 95 % each time, takes what less noise gives."""
    base = bench.player("base", "map")
    incumbent, fooled = base, 0
    for trial in range(1, ROUNDS + 1):
        candidate = less_noise(incumbent, 0)
        verdict = bench.judge(candidate, incumbent, base, trial, f"ratchet {trial}")
        assert verdict.verdict == "reject"
        assert "above_noise_scale" in verdict.failed
        fooled += "judge_score" not in verdict.failed
        incumbent = candidate  # as if it had been promoted
    assert fooled > 0
    # What was lost on the way is counted from the anchor, and no tolerance adds up.
    assert LOSSES & set(verdict.failed)


def test_a_model_held_against_itself_is_rejected_whatever_the_trial(bench: Bench) -> None:
    base = bench.player("base", "map")
    same = Player(load_model(bench.folders["base"], "map"))
    for trial in (1, 7):
        assert bench.judge(same, base, base, trial, "same").failed == ["judge_score", "above_noise_scale"]


def test_a_gain_is_seen_on_other_noise_too_and_costs_more_the_later_it_comes(bench: Bench) -> None:
    base, tuned = bench.player("base", "map"), bench.player("tuned", "ema")
    lows = []
    for trial in (1, 10, 100):
        verdict = bench.judge(tuned, base, base, trial, "tuned")
        assert not {"judge_score", "above_noise_scale"} & set(verdict.failed)
        assert verdict.level == pytest.approx(level_of(trial, 0.05))
        lows.append(next(each.figure for each in verdict.criteria if each.name == "judge_score"))
    assert lows == sorted(lows, reverse=True)


def test_noise_follows_from_the_candidate(bench: Bench) -> None:
    assert torch.equal(bench.drawing("a").noise, bench.drawing("a").noise)
    assert not torch.equal(bench.drawing("a").noise, bench.drawing("b").noise)
