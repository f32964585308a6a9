"""Commands, their help, and what they say when they are used wrongly."""

from pathlib import Path

import pytest

import flowmap as package
from tests.cli import flowmap


def test_version() -> None:
    done = flowmap("--version")
    assert done.returncode == 0
    assert package.__version__ in done.stdout


@pytest.mark.parametrize(
    "command", ["run", "sample", "models", "compile", "report", "init", "doctor", "plan"]
)
def test_each_command_has_a_help(command: str) -> None:
    done = flowmap(command, "--help")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) > 8


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["runn"], "No such command 'runn'"),
        (["run", "absent.yaml"], "absent.yaml: no such file"),
        (
            ["run", "examples/digits.yaml", "--set", "grpo_finetuning.groupsize=1"],
            "did you mean `group_size`?",
        ),
        (
            ["run", "examples/digits.yaml", "--set", "grpo_finetuning.group_size=1"],
            "group_size: input should be",
        ),
        (
            ["sample", "digits", "--prompt", "3", "-o", "x.gif"],
            "x.gif: name a file that ends with .npz or .png",
        ),
        (["sample", "digits", "--prompt", "3", "-n", "0", "-o", "x.png"], "0 is not in the range"),
        (["sample", "digits", "--prompt", "3", "-o", "x.png"], "no model yet"),
        (["models", "digits"], "'digits': no such model"),
    ],
)
def test_wrong_use_ends_with_2_and_one_message(tmp_path: Path, arguments: list[str], told: str) -> None:
    root = ["--root", str(tmp_path / "root")] if len(arguments) > 1 else []
    done = flowmap(*arguments, *root)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "root").exists()


def test_an_empty_registry_says_how_to_fill_it(tmp_path: Path) -> None:
    done = flowmap("models", "--root", str(tmp_path))
    assert done.returncode == 0
    assert "no models yet" in done.stdout


def test_a_root_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = flowmap("run", "examples/digits.yaml", "--root", str(tmp_path / "file" / "root"))
    assert done.returncode == 1
    assert "name a writable directory" in done.stderr
    assert "Traceback" not in done.stderr
