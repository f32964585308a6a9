"""Runs against an incumbent: better, worse, and one that hacks its reward."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli import flowmap
from tests.pipeline.runs import TRAINING, Finished, registry, run


@pytest.fixture(scope="module")
def better(root: Path, first: Finished) -> Finished:
    """A candidate that trained three times as long and farther from the base, against the first."""
    return run(root, "grpo_finetuning.rollouts=50", "grpo_finetuning.kl_target=1.5")


def test_a_better_candidate_is_judged_against_the_incumbent(
    root: Path, first: Finished, better: Finished
) -> None:
    assert better.status == 0, better.told
    assert better.outcome["verdict"]["against"] == "incumbent"
    assert better.outcome["version"] == 3
    controls = {"base trained on", "baseline, Heun"}
    compared = {"base", "incumbent", "tuned", "raw", "baseline"} | controls
    assert set(better.outcome["metrics"]["models"]) == compared
    versions = registry(root)
    assert versions.resolve("production").version == 3
    third, second = versions.resolve("3"), versions.resolve("2")
    assert third.incumbent == second.manifest.digest
    assert (second.trial, third.trial) == (1, 2)
    assert better.outcome["metrics"]["anchor"] is None  # the same base, which is the anchor itself


@pytest.mark.slow
def test_a_worse_candidate_is_rejected(root: Path, better: Finished, tmp_path: Path) -> None:
    """And each is judged on the grid that it ships, which need not be of as many evaluations."""
    few = ("grpo_finetuning.rollouts=1", "grpo_finetuning.snapshots=1", "grpo_finetuning.grid=[1,0.05,0]")
    worse = run(root, *few)
    assert worse.status == 3, worse.told
    verdict = worse.outcome["verdict"]
    assert verdict["against"] == "incumbent"
    assert (verdict["num_evaluations"], verdict["against_evaluations"]) == (2, 3)
    failed = [c["name"] for c in worse.outcome["verdict"]["criteria"] if not c["passed"]]
    assert "judge_score" in failed
    assert "evaluation: The judge sees no gain over the incumbent" in worse.told
    versions = registry(root)
    assert versions.resolve("production").version == 3
    assert len(versions.versions()) == 3
    assert versions.rejections()[-1].candidate == worse.digests()["grpo_finetuning"]
    picture = tmp_path / "rejected.png"
    common = ["tiny@rejected", "--root", str(root), "-o"]
    drawn = flowmap("sample", *common, str(picture), "--prompt", "3")
    assert drawn.stdout == f"wrote 16 samples of tiny@rejected to {picture}\n"
    report = tmp_path / "rejected.html"
    assert flowmap("report", *common, str(report)).returncode == 0
    assert "Why, and what to try" in report.read_text()


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
    assert {"kid_judge", "fd_judge"} & {
        each["name"] for each in hacked.outcome["verdict"]["criteria"] if not each["passed"]
    }


def test_models_lists_versions_and_aliases(root: Path, better: Finished) -> None:
    found = json.loads(flowmap("models", "--root", str(root), "--json").stdout)
    assert [version["version"] for version in found["tiny"]["versions"]] == [1, 2, 3]
    assert found["tiny"]["aliases"] == {"anchor": 1, "production": 3}
    text = flowmap("models", "tiny", "--root", str(root)).stdout
    assert "tiny@3" in text
    assert "production" in text


def test_data_that_fit_no_model_of_that_name_are_told_before_anything_is_trained(
    root: Path, tmp_path: Path
) -> None:
    levels = np.random.default_rng(0).integers(0, 255, (400, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "others.npz", images=levels, prompts=np.arange(400) % 11)
    changed = f"data_prep.source={tmp_path / 'others.npz'}"
    done = run(root, changed)
    assert done.status == 1
    told = (
        "the data have prompts that it does not know, '10': a model of them can't be compared with "
        "tiny@production"
    )
    assert f"data_prep: {told}" in done.told
    assert "base_training: starting" not in done.told
    planned = flowmap("plan", str(root.parent / "tiny.yaml"), "--root", str(root), "--set", changed)
    assert planned.returncode == 1
    assert told in planned.stderr
    renamed = flowmap(
        "plan", str(root.parent / "tiny.yaml"), "--root", str(root), "--set", changed, "--set", "name=other"
    )
    assert renamed.returncode == 0
