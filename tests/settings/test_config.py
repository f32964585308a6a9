"""Wrong configurations: one clear line for each mistake, with the key, the value and what to do."""

import re
from pathlib import Path

import pytest

from flowmap.errors import ConfigError
from flowmap.settings import RunConfig, load_config


def write(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "name: a\ngrpo_finetuning:\n  rollout: 3",
            "grpo_finetuning.rollout: unknown key; did you mean `rollouts`?",
        ),
        (
            "name: a\ngrpo_tuning:\n  rollouts: 3",
            "grpo_tuning: unknown key; did you mean `grpo_finetuning`?",
        ),
        ("name: a\nbase_training: {updates: 0}", "base_training.updates: input should be greater than"),
        ("name: a\nbase_training: {updates: many}", "(got 'many')"),
        (
            "name: a\nbase_training: {updates: '20'}",
            "base_training.updates: input should be a valid integer",
        ),
        ("name: a\nbase_training: {learning_rate: .nan}", "base_training.learning_rate"),
        (
            "name: a\ngrpo_finetuning: {group_size: 1}",
            "grpo_finetuning.group_size: input should be greater than",
        ),
        (
            "name: a\ngrpo_finetuning: {grid: [1, 0.2, 0.5, 0]}",
            "grid [1.0, 0.2, 0.5, 0.0] must fall from 1 to 0",
        ),
        ("name: a\ngrpo_finetuning: {grid: [1, 0]}", "with at least one time between"),
        (
            "name: a\ngrpo_finetuning: {groups: 3, processes: 2}",
            "groups (3) must be a multiple of processes (2)",
        ),
        ("name: a\ndata_prep: {shares: {base: 0.9}}", "must add up to 1, not 1.4"),
        ("name: a\nfoo: 3", "foo: unknown key; there is name, data_prep,"),
        ("name: a\ndata_prep: {resize: [14, 14]}", "digits are 8x8 and take no resize"),
        ("name: a\ndata_prep: {source: mnist, color: rgb}", "mnist is grey and takes no color"),
        ("name: a\ndata_prep: {preferences: x.csv}", "preferences name files of a folder"),
        ("name: a\ndata_prep: {source: 'pictures/{{x}}'}", "a value holds {{, which Kubeflow would expand"),
        ("name: Digits\n", "name: use small letters"),
        ("data_prep: {}\n", "name: missing"),
        ("- 1\n", "expected `name:` and sections, got list"),
        ("name: [\n", "not YAML"),
    ],
)
def test_a_wrong_value_is_named_with_its_key(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text))
    assert expected in str(caught.value)


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(
            write(tmp_path, "name: a\nbase_training: {updates: 0, with: 3}\nevaluation: {resamples: 9}")
        )
    for key in ("base_training.updates", "base_training.with", "evaluation.resamples"):
        assert key in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "absent.yaml")


def test_overrides_win_and_survive_the_way_through_json(tmp_path: Path) -> None:
    path = write(tmp_path, "name: a\nbase_training: {updates: 10}")
    overrides = ["name=b", "base_training.updates=20", "base_training.learning_rate=1e-4"]
    config = load_config(path, [*overrides, "grpo_finetuning.grid=[1, 0.5, 0]"])
    assert config.base_training.learning_rate == 1e-4
    assert (config.name, config.base_training.updates, config.grpo_finetuning.grid) == (
        "b",
        20,
        (1.0, 0.5, 0.0),
    )
    assert RunConfig.model_validate_json(config.to_json()) == config


@pytest.mark.parametrize("override", ["updates", "name.updates=3", "=3", "base_training.updates=[1"])
def test_a_wrong_override_is_named(tmp_path: Path, override: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        load_config(write(tmp_path, "name: a"), [override])


def test_the_examples_are_valid() -> None:
    examples = sorted(Path("examples").glob("*.yaml"))
    assert examples
    for path in examples:
        load_config(path)


def test_what_the_examples_say_of_eight_gpus_is_valid() -> None:
    """The settings that their first lines name."""
    found = {}
    for path in sorted(Path("examples").glob("*.yaml")):
        header = " ".join(line[2:] for line in path.read_text().splitlines() if line.startswith("# "))
        if overrides := re.findall(r"--set ([\w.]+=[\w.]+)", header):
            found[path.stem] = load_config(path, overrides)
            assert found[path.stem].grpo_finetuning.processes == 8
    assert set(found) == {"flux_lite_512", "flux_schnell_lora", "sd35_medium"}
