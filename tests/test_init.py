"""`flowmap init` writes what `flowmap run` reads, whatever things are called."""

from pathlib import Path

import pytest

from flowmap.settings import load_config
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
