"""The code version covers what can change a step's result, and nothing else."""

import shutil
from pathlib import Path

import pytest

import flowmap.steps.code_version as module
from flowmap.settings import RunConfig
from flowmap.steps.code_version import code_version, sources
from flowmap.steps.dag import PIPELINE

STEPS = {step.name: step for step in PIPELINE}
TRAINING = {"base_training", "grpo_finetuning"}
ONE_REWARD = {"rewards": [{"kind": "preference"}]}


def modules_of(step: str, **grpo: object) -> tuple[str, ...]:
    config = RunConfig.model_validate({"name": "x", "grpo_finetuning": grpo})
    return STEPS[step].modules(config)


def versions(**grpo: object) -> dict[str, str]:
    return {step: code_version(step, modules_of(step, **grpo)) for step in STEPS}


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package that code versions are taken of."""
    folder = tmp_path / "flowmap"
    shutil.copytree(module.ROOT, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "ROOT", folder)
    return folder


@pytest.mark.parametrize("step", STEPS)
def test_a_step_covers_its_own_folder_without_the_shell(step: str) -> None:
    names = set(sources(step))
    assert f"flowmap/{step}/step.py" in names
    assert f"flowmap/{step}/component.py" not in names
    assert not [
        name for name in names if any(f"flowmap/{other}/" in name for other in STEPS if other != step)
    ]


def test_imports_are_followed_at_any_depth() -> None:
    names = set(sources("grpo_finetuning", modules_of("grpo_finetuning")))
    for room in (
        "asfmc/kernels",
        "maps/path",
        "models/modulated_mlp",
        "training/deepspeed_engine",
        "rewards/mmd",
    ):
        assert f"flowmap/{room}.py" in names
    assert "flowmap/data_prep/expectations.json" in sources("data_prep")
    assert "flowmap/evaluation/report.html" in sources("evaluation")


@pytest.mark.parametrize(
    ("edited", "changed"),
    [
        ("evaluation/report.py", {"evaluation"}),
        ("base_training/worker.py", {"base_training"}),
        ("asfmc/kernels.py", {"grpo_finetuning", "evaluation"}),
        ("grpo/advantages.py", {"grpo_finetuning"}),
        ("training/ema.py", TRAINING | {"evaluation"}),
        ("models/modulated_mlp.py", TRAINING | {"evaluation"}),
        ("modality/images/reading.py", {"data_prep"}),
        ("modality/images/corruption.py", {"reward_training"}),
        ("modality/images/judging.py", {"evaluation"}),
        ("modality/images/pictures.py", {"evaluation"}),
        ("page.css", {"evaluation"}),
        ("seeding.py", set(STEPS)),
        ("artifacts/digest.py", set(STEPS)),
        # A reward's file runs again what uses that reward.
        ("rewards/mmd.py", {"grpo_finetuning", "evaluation"}),
        ("rewards/preference.py", {"reward_training", "grpo_finetuning", "evaluation"}),
        ("rewards/http.py", set()),
        ("rewards/python.py", set()),
        # What says where and how training runs, checks settings, shows progress or moves bytes runs nothing
        # again.
        ("settings/messages.py", set()),
        ("settings/sections.py", set()),
        ("steps/frame.py", set()),
        ("steps/dag.py", set()),
        ("launching/torchrun.py", set()),
        ("kubernetes/api.py", set()),
        ("training/events.py", set()),
        ("lineage/record.py", set()),
        ("progress.py", set()),
        ("errors.py", set()),
        ("retrying.py", set()),
        ("artifacts/s3_store.py", set()),
        ("artifacts/manifest.py", set()),
        ("__init__.py", set()),
    ],
)
def test_an_edit_changes_the_version_of_the_steps_that_reach_it(
    copy: Path, edited: str, changed: set[str]
) -> None:
    before = versions()
    with (copy / edited).open("a") as file:
        file.write("\n# edited\n")
    after = versions()
    assert {step for step in STEPS if after[step] != before[step]} == changed


def test_a_reward_that_is_not_used_is_none_of_a_steps_code(copy: Path) -> None:
    before = versions(**ONE_REWARD)
    with (copy / "rewards" / "mmd.py").open("a") as file:
        file.write("\n# edited\n")
    assert versions(**ONE_REWARD) == before
