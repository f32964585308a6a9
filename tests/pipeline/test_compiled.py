"""The compiled pipeline, as Kubeflow gets it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from flowmap.config import RunConfig
from flowmap_pipelines.compiling import compile_pipeline

STEPS = {"data-prep", "base-training", "reward-training", "grpo-finetuning", "evaluation"}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    compile_pipeline(RunConfig(name="digits"), path)
    return yaml.safe_load(path.read_text())


def tasks_of(compiled: Any) -> dict[str, Any]:
    """Every task of the DAG and of its branches, by name."""
    found = dict(compiled["root"]["dag"]["tasks"])
    for component in compiled["components"].values():
        found |= component.get("dag", {}).get("tasks", {})
    return found


def test_the_same_configuration_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    compile_pipeline(RunConfig(name="digits"), first)
    compile_pipeline(RunConfig(name="digits"), second)
    assert first.read_bytes() == second.read_bytes()


def test_base_and_reward_training_run_side_by_side(compiled: Any) -> None:
    tasks = tasks_of(compiled)
    assert set(tasks) >= STEPS
    assert tasks["base-training"]["dependentTasks"] == ["data-prep"]
    assert tasks["reward-training"]["dependentTasks"] == ["data-prep"]
    assert tasks["grpo-finetuning"]["dependentTasks"] == ["base-training", "reward-training"]


def test_kubeflows_own_cache_is_off_for_every_step(compiled: Any) -> None:
    steps = {name: task for name, task in tasks_of(compiled).items() if not name.startswith("condition")}
    assert len(steps) == len(STEPS) + 2
    for name, task in steps.items():
        assert not task["cachingOptions"].get("enableCache"), name


def test_both_branches_of_the_gate_exist_and_exclude_each_other(compiled: Any) -> None:
    conditions = {
        next(iter(compiled["components"][task["componentRef"]["name"]]["dag"]["tasks"])): task["triggerPolicy"]
        for task in tasks_of(compiled).values()
        if "triggerPolicy" in task
    }
    assert set(conditions) == {"registry-push", "record-rejection"}
    promote, reject = conditions["registry-push"]["condition"], conditions["record-rejection"]["condition"]
    assert promote.endswith("== 'promote'")
    assert reject == f"!({promote})"


def test_nothing_is_installed_when_a_step_runs(compiled: Any) -> None:
    for name, executor in compiled["deploymentSpec"]["executors"].items():
        assert "pip" not in " ".join(executor["container"]["command"]), name


def test_the_settings_are_the_only_parameter(compiled: Any) -> None:
    parameters = compiled["root"]["inputDefinitions"]["parameters"]
    assert list(parameters) == ["settings"]
    assert RunConfig.model_validate_json(parameters["settings"]["defaultValue"]) == RunConfig(name="digits")
