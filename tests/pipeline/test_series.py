"""Forecasts through the whole pipeline: the modality whose prompts are occasions."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli import flowmap

CONFIG = """
name: waves
data_prep: {{source: {source}, series: {{past: 12, future: 4}}}}
base_training: {{width: 32, depth: 1, updates: 60, batch_size: 64, max_gap: 5.0, max_speed_ratio: 50.0}}
reward_training: {{updates: 30}}
grpo_finetuning: {{rollouts: 4, groups: 4, group_size: 8, grid: [1, 0.5, 0], window: [0], snapshots: 1,
  rewards: [{{kind: energy}}, {{kind: hit, weight: 0.2}}]}}
evaluation: {{samples_per_prompt: 8, evaluations: [1, 2], baseline_evaluations: [2], resamples: 50}}
"""


@pytest.mark.slow
def test_a_series_of_ones_own_becomes_a_model_that_is_judged_on_later_times(tmp_path: Path) -> None:
    random, time = np.random.default_rng(0), np.arange(500)
    values = np.sin(2 * np.pi * time / 12) + 0.2 * random.standard_normal(500)
    rows = [f"{index:04d},{value:.4f}" for index, value in enumerate(values)]
    (tmp_path / "waves.csv").write_text("time,value\n" + "\n".join(rows))
    config = tmp_path / "waves.yaml"
    config.write_text(CONFIG.format(source=tmp_path / "waves.csv"))
    done = flowmap("run", str(config), "--root", str(tmp_path / "root"), "--json")
    assert done.returncode in (0, 3), done.stderr
    metrics = json.loads(done.stdout)["metrics"]
    simpler = {"persistence", "season before", "autoregression, statsmodels"}
    assert simpler <= set(metrics["models"])
    assert metrics["real"]["judge_accuracy"] == 1
    asked = list(metrics["accuracy_by_prompt"])
    assert min(asked) > "after 0400"  # nobody was trained on these
    shown = Path(json.loads(done.stdout)["report"]).read_text()
    assert "minus energy score" in shown
    drawn = flowmap(
        "sample",
        "waves",
        "--prompt",
        asked[0],
        "-n",
        "4",
        "-o",
        str(tmp_path / "x.png"),
        "--store",
        str(tmp_path / "root" / "store"),
    )
    assert drawn.returncode == 0, drawn.stderr
