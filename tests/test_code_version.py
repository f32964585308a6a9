"""The code version covers what can change a step's result, and nothing else."""

import shutil
from pathlib import Path

import pytest

import flowmap.code_version as module
from flowmap.code_version import code_version, sources

STEPS = ["data_prep", "base_training", "reward_training", "grpo_finetuning", "evaluation", "registry_push"]


@pytest.mark.parametrize("step", STEPS)
def test_a_step_covers_its_own_folder_without_the_shell(step: str) -> None:
    names = set(sources(step))
    assert f"flowmap/{step}/step.py" in names
    assert f"flowmap/{step}/component.py" not in names
    assert not [name for name in names if any(f"flowmap/{other}/" in name for other in STEPS if other != step)]


def test_imports_are_followed_at_any_depth() -> None:
    names = set(sources("grpo_finetuning"))
    for room in ("asfmc/kernels", "maps/path", "networks/modulated_mlp", "training/engine", "rewards/mmd", "seeding"):
        assert f"flowmap/{room}.py" in names
    assert "flowmap/rewards/mmd.py" not in set(sources("base_training"))
    assert "flowmap/data_prep/expectations.json" in sources("data_prep")
    assert "flowmap/evaluation/report.html" in sources("evaluation")


@pytest.mark.parametrize(
    ("edited", "changed"),
    [
        ("evaluation/report.py", {"evaluation"}),
        ("base_training/worker.py", {"base_training"}),
        ("asfmc/kernels.py", {"grpo_finetuning"}),
        ("training/ema.py", {"base_training", "grpo_finetuning"}),
        ("networks/modulated_mlp.py", {"base_training", "reward_training", "grpo_finetuning", "evaluation"}),
        ("page.css", {"evaluation"}),
        ("progress.py", set()),
        ("artifacts/s3_store.py", set()),
        ("seeding.py", set(STEPS)),
    ],
)
def test_an_edit_changes_the_version_of_the_steps_that_reach_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edited: str, changed: set[str]
) -> None:
    before = {step: code_version(step) for step in STEPS}
    copy = tmp_path / "flowmap"
    shutil.copytree(module.ROOT, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "ROOT", copy)
    assert {step: code_version(step) for step in STEPS} == before
    with (copy / edited).open("a") as file:
        file.write("\n# edited\n")
    assert {step for step in STEPS if code_version(step) != before[step]} == changed
