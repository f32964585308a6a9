"""A user's own data, from a first look to a verdict."""

import json
from pathlib import Path

import pytest

from tests.cli import flowmap as cli
from tests.pipeline.runs import write_shapes


@pytest.mark.slow
def test_a_folder_of_ones_own_becomes_a_model(tmp_path: Path) -> None:
    """Colour images of 12 x 12, two prompts, preferences, an own reward: from `init` to a verdict."""
    folder, config = tmp_path / "my shapes", tmp_path / "my shapes.yaml"
    write_shapes(folder, num=400)
    preferences = folder / "pairs.csv"
    done = cli("init", str(folder), "--preferences", str(preferences), "-o", str(config))
    assert done.returncode == 0, done.stderr
    assert "400 images of 12 x 12, 2 prompts" in done.stdout
    (tmp_path / "redness.py").write_text(
        "def red(samples):\n    return samples.data[:, :, 0].mean((2, 3))\n"
    )
    own = "{kind: python, function: 'redness:red', weight: 0.5}"
    sets = (
        "reward_training.classifier_updates=50",
        f"grpo_finetuning.rewards=[{{kind: preference}}, {own}, {{kind: classifier}}]",
        "base_training.width=48",
        "base_training.updates=200",
        "base_training.max_gap=2.0",
        "base_training.max_speed_ratio=10.0",
        "reward_training.updates=100",
        "grpo_finetuning.rollouts=4",
        "grpo_finetuning.groups=4",
        "evaluation.judge_updates=100",
        "evaluation.samples_per_prompt=20",
        "evaluation.resamples=100",
    )
    changes = [word for change in sets for word in ("--set", change)]
    done = cli("run", str(config), "--root", str(tmp_path / "root"), "--json", *changes)
    assert done.returncode in (0, 3), done.stderr
    assert "against_rejected" in done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["name"] == "my-shapes"
    tuned = tmp_path / "root" / "store" / "artifacts" / outcome["steps"]["grpo_finetuning"]["artifact"]
    (first, *_) = json.loads((tuned / "curve.json").read_text())
    assert {"reward_preference", "reward_python", "spread_python", "correlation_classifier"} <= set(first)
    assert "Reward in training: python" in Path(outcome["report"]).read_text()
    # An edit of the reward's file runs GRPO again, and what follows it; nothing before it.
    (tmp_path / "redness.py").write_text(
        "def red(samples):\n    return samples.data[:, :, 0].amax((2, 3))\n"
    )
    planned = cli("plan", str(config), "--root", str(tmp_path / "root"), "--json", *changes)
    reused = {step["step"] for step in json.loads(planned.stdout) if step["reused"]}
    assert reused == {"data_prep", "base_training", "reward_training"}
    assert cli("init", str(folder), "-o", str(config)).returncode == 2
