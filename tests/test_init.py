"""`flowmap init` writes what `flowmap run` reads, whatever things are called."""

from pathlib import Path

import pytest

from flowmap.errors import ConfigError, DataError
from flowmap.settings import SeriesSettings, load_config
from flowmap_pipelines.init_config import configuration_for, example_for
from tests.cli import flowmap
from tests.pipeline.runs import write_shapes


@pytest.mark.parametrize("name", ["pets #2", "2024", "no", "a: b", "Häuser"])
def test_a_folder_of_any_name_is_written_down_whole(tmp_path: Path, name: str) -> None:
    folder, config = tmp_path / name, tmp_path / "made" / "config.yaml"
    write_shapes(folder, 8)
    done = flowmap("init", str(folder), "-o", str(config))
    assert done.returncode == 0, done.stderr
    read = load_config(config)
    assert read.data_prep.source == str(folder)
    assert read.data_prep.preferences == str(folder / "pairs.csv")  # found by its columns
    assert "preferences from pairs.csv" in done.stdout


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("x.json", "name a file that ends with .yaml or .yml"),
        ("file/x.yaml", "is no folder that you may write to"),
        ("folder.yaml", "is a folder; name a file"),
    ],
)
@pytest.mark.parametrize("command", ["init", "compile"])
def test_an_output_that_can_not_be_is_refused_at_once(
    tmp_path: Path, command: str, output: str, told: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.yaml").mkdir()
    done = flowmap(command, "examples/digits.yaml", "-o", str(tmp_path / output))
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_series_of_ones_own_becomes_a_configuration_that_loads(tmp_path: Path) -> None:
    file = tmp_path / "Power use.csv"
    file.write_text("time,value\n" + "\n".join(f"{index:04d},{(index % 24) ** 1.5}" for index in range(600)))
    text, told = configuration_for(file, None)
    written = tmp_path / "series.yaml"
    written.write_text(text)
    config = load_config(written)
    assert config.name == "power-use"
    assert config.data_prep.is_series
    assert config.data_prep.series == SeriesSettings(past=52, future=13)
    assert told == "536 windows of 600 values, 52 past and 13 future ones each"
    file.write_text("time,value\n" + "\n".join(f"{index:04d},{(index % 24) ** 1.5}" for index in range(250)))
    assert "{past: 24, future: 6}" in configuration_for(file, None)[0]


def test_a_built_in_source_is_its_example() -> None:
    assert example_for("series") == example_for("co2") == "series"
    assert example_for("tinted_digits") == "tiny_flux"
    assert example_for("words") == "tiny_ocr"
    assert example_for("nothing") is None


def test_prompts_alone_become_a_configuration_for_a_model_that_is_there(tmp_path: Path) -> None:
    file, written = tmp_path / "drawbench.csv", tmp_path / "drawbench.yaml"
    file.write_text("Prompts,Category\na red cat,Colors\na blue dog,Colors\n")
    done = flowmap("init", str(file), "-o", str(written))
    assert done.returncode == 0, done.stderr
    assert "2 prompts without data, for black-forest-labs/FLUX.1-schnell" in done.stdout
    config = load_config(written)
    assert (config.data_prep.prompts, config.data_prep.prompt_column) == (str(file), "Prompts")
    assert config.base_training.checkpoint is not None
    assert config.base_training.checkpoint.revision is not None
    assert [reward.label for reward in config.grpo_finetuning.rewards] == ["pickscore"]
    assert config.evaluation.rewards is not None
    assert [reward.label for reward in config.evaluation.rewards] == ["clip"]


def test_prompts_that_quote_words_are_read_by_a_recogniser(tmp_path: Path) -> None:
    (tmp_path / "signs.txt").write_text('a sign that says "stop"\na shop called "Milk"\n')
    text, told = configuration_for(tmp_path / "signs.txt", None, str(tmp_path))
    (tmp_path / "signs.yaml").write_text(text)
    config = load_config(tmp_path / "signs.yaml")
    assert [reward.kind for reward in config.grpo_finetuning.rewards] == ["ocr", "pickscore"]
    assert config.evaluation.fulfilled == 1
    assert "revision: null" not in text  # a folder has none
    assert told == f"2 prompts without data, for {tmp_path}"
    assert (
        "revision: null    # the commit's 40 digits"
        in configuration_for(tmp_path / "signs.txt", None, "someone/model")[0]
    )


def test_a_checkpoint_is_for_prompts_and_prompts_have_a_column(tmp_path: Path) -> None:
    write_shapes(tmp_path / "shapes", 8)
    with pytest.raises(ConfigError, match=r"--checkpoint is for a file of prompts"):
        configuration_for(tmp_path / "shapes", None, "there")
    (tmp_path / "x.csv").write_text("one,two\na,b\n")
    with pytest.raises(DataError, match=r"none of its columns one, two is called prompt or prompts"):
        configuration_for(tmp_path / "x.csv", None)
