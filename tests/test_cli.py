"""Commands, their help, and what they say when they are used wrongly."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import flowmap as package
from flowmap.artifacts.local_store import LocalStore
from flowmap.settings import environment, load_config
from flowmap_pipelines import local_run
from flowmap_pipelines.doctor import examine, how_to_install
from tests.cli import flowmap
from tests.faults import fault
from tests.pipeline.runs import write_shapes


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


def test_files_of_the_current_folder_stand_for_no_module(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: a\ndata_prep: {source: absent.npz}\n")
    for name in ("random.py", "click.py", "yaml.py"):
        (tmp_path / name).write_text("raise SystemExit('not the module that was meant')")
    (tmp_path / "flowmap").mkdir()
    command = [str(Path(sys.executable).with_name("flowmap")), "run", "a.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "absent.npz" in done.stderr
    assert "not the module" not in done.stderr + done.stdout


@pytest.mark.parametrize("locale", [{"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}])
def test_an_ascii_locale_ends_nothing(tmp_path: Path, locale: dict[str, str]) -> None:
    write_shapes(tmp_path / "häuser", 8)
    done = flowmap("init", str(tmp_path / "häuser"), "-o", str(tmp_path / "a.yaml"), environment=locale)
    assert done.returncode == 0, done.stderr
    assert load_config(tmp_path / "a.yaml").data_prep.source == str(tmp_path / "häuser")
    done = flowmap("run", str(tmp_path / "häuser" / "x.yaml"), environment=locale)
    assert done.returncode == 2
    assert "no such file" in done.stderr


def test_an_extra_is_named_for_what_is_missing() -> None:
    for module, extra in (("kubernetes", "client"), ("cronsim", "client"), ("kfp.kubernetes", "client")):
        assert how_to_install(module) == f"pip install 'flowmap[{extra}]' brings it"
    assert how_to_install("mlflow") == "pip install 'flowmap[mlflow]' brings it"
    assert how_to_install("torch") == "pip install 'flowmap[local]' brings it"


def test_doctor_tells_of_a_torch_that_is_broken(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise OSError('libcudart.so: cannot open')")
    there = {"PYTHONPATH": os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))}
    done = flowmap("doctor", "--root", str(tmp_path / "root"), environment=there)
    assert done.returncode == 1
    assert "torch can't be imported (OSError: libcudart.so: cannot open)" in done.stdout
    assert "what is there is not overwritten" in done.stdout


@fault(
    'a store ignores what "create" means',
    "`flowmap doctor` refuses it",
    of="rivals",
)
def test_doctor_refuses_a_store_that_overwrites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(store: LocalStore, name: str, data: bytes) -> bool:
        store.put(name, data)
        return True

    monkeypatch.setattr(LocalStore, "create", careless)
    finding = list(examine(tmp_path, None))[-1]
    assert finding.ok is False
    assert "overwrites what may be written only once" in finding.told


def test_a_terminal_without_a_name_draws_its_bar_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of `docker exec -t`."""

    def nameless(_: int) -> str:
        raise OSError("no such device")

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(sys.stderr, "fileno", lambda: 2)
    monkeypatch.setattr(os, "ttyname", nameless)
    monkeypatch.setattr(os, "environ", os.environ.copy())  # what it sets is gone afterwards
    os.environ.pop(environment.TERMINAL, None)
    local_run._set_environment("run-1", LocalStore(tmp_path), tmp_path)
    assert environment.TERMINAL not in os.environ
