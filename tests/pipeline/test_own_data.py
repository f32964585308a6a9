"""A user's own data, from a first look to a verdict."""

import json
from pathlib import Path

from tests.cli import flowmap as cli
from tests.pipeline.runs import write_shapes


def test_a_folder_of_ones_own_becomes_a_model(tmp_path: Path) -> None:
    """Colour images of 12 x 12, two prompts with names, preferences: from `init` to a verdict."""
    folder, config = tmp_path / "my shapes", tmp_path / "shapes.yaml"
    write_shapes(folder, num=400)
    preferences = folder / "pairs.csv"
    done = cli("init", str(folder), "--preferences", str(preferences), "-o", str(config))
    assert done.returncode == 0, done.stderr
    assert "400 images of 12 x 12, 2 prompts" in done.stdout
    sets = (
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
    assert json.loads(done.stdout)["name"] == "my-shapes"
    assert cli("init", str(folder), "-o", str(config)).returncode == 2
