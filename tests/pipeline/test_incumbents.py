"""Runs against an incumbent: better, worse, and one that hacks its reward."""

import json
from pathlib import Path

import pytest

from tests.cli import flowmap as cli
from tests.pipeline.runs import TRAINING, Finished, registry, run


@pytest.fixture(scope="module")
def better(root: Path, first: Finished) -> Finished:
    """A candidate that is trained for longer, against the first as the incumbent."""
    return run(root, "grpo_finetuning.rollouts=180")


def test_a_better_candidate_is_judged_against_the_incumbent(
    root: Path, first: Finished, better: Finished
) -> None:
    assert better.status == 0, better.told
    assert better.outcome["verdict"]["against"] == "incumbent"
    assert better.outcome["version"] == 2
    assert {"base", "incumbent", "tuned", "raw", "baseline"} == set(better.outcome["metrics"]["models"])
    versions = registry(root)
    assert versions.resolve("production").version == 2
    assert versions.resolve("2").incumbent == versions.resolve("1").manifest.digest


def test_a_worse_candidate_is_rejected(root: Path, better: Finished) -> None:
    worse = run(root, "grpo_finetuning.rollouts=1", "grpo_finetuning.snapshots=1")
    assert worse.status == 3, worse.told
    assert worse.outcome["verdict"]["against"] == "incumbent"
    failed = [c["name"] for c in worse.outcome["verdict"]["criteria"] if not c["passed"]]
    assert "judge_difference" in failed
    versions = registry(root)
    assert versions.resolve("production").version == 2
    assert len(versions.versions()) == 2
    assert versions.rejections()[-1].candidate == worse.digests()["grpo_finetuning"]


@pytest.mark.slow
def test_a_candidate_that_hacks_its_reward_is_rejected_and_the_criterion_named(
    root: Path, first: Finished
) -> None:
    hacked = run(
        root,
        "name=hacked",
        "grpo_finetuning.rewards=[{kind: preference, saturating: false}]",
        "grpo_finetuning.kl_weight=0",
        "grpo_finetuning.learning_rate=2e-4",
        "grpo_finetuning.rollouts=100",
        "grpo_finetuning.ema=0.5",
    )
    assert hacked.status == 3, hacked.told
    assert hacked.reused() == TRAINING - {"grpo_finetuning"}
    assert hacked.outcome["metrics"]["difference"]["reward"]["low"] > 1
    assert "rejected for fd_judge" in hacked.told


def test_models_lists_versions_and_aliases(root: Path, better: Finished) -> None:
    found = json.loads(cli("models", "--root", str(root), "--json").stdout)
    assert [version["version"] for version in found["tiny"]["versions"]] == [1, 2]
    assert found["tiny"]["aliases"] == {"production": 2}
    text = cli("models", "tiny", "--root", str(root)).stdout
    assert "tiny@2" in text
    assert "production" in text
