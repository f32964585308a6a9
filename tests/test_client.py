"""The client without torch: installed into an empty environment, as a CI runner has it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flowmap.steps.code_version import code_version
from flowmap_pipelines.profile import STEPS
from tests.pipeline.test_compiled import IMAGES

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a virtual environment that has `flowmap[client]` and nothing else."""
    folder = tmp_path_factory.mktemp("client")
    source, environment = folder / "source", folder / "venv"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("components", "pipelines"):
        shutil.copytree(
            ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([str(uv), "venv", "--quiet", "--python", sys.executable, str(environment)], check=True)
    python = str(environment / "bin" / "python")
    command = [str(uv), "pip", "install", "--quiet", "--python", python, f"{source}[client]"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        told = f"the package index can't be reached: {done.stderr[-300:]}"
        if os.environ.get("CI") == "true":
            pytest.fail(told)
        pytest.skip(told)
    return environment / "bin"


def call(client: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(client / "flowmap"), *arguments], capture_output=True, text=True, check=False, cwd=client
    )


def test_the_client_is_small(client: Path) -> None:
    packages = next((client.parent / "lib").glob("python3.*/site-packages"))
    assert not [
        name for name in ("torch", "pandas", "matplotlib", "deepspeed") if (packages / name).exists()
    ]
    assert sum(path.stat().st_size for path in packages.rglob("*") if path.is_file()) < 200e6


def test_the_client_writes_an_example_that_lies_in_no_checkout(client: Path, tmp_path: Path) -> None:
    target = tmp_path / "digits.yaml"
    done = call(client, "init", "digits", "-o", str(target))
    assert done.returncode == 0, done.stderr
    assert target.read_text() == (ROOT / "examples" / "digits.yaml").read_text()
    absent = call(client, "plan", str(tmp_path / "absent.yaml"))
    assert absent.returncode == 2
    assert "`flowmap init digits -o digits.yaml` writes one to start from" in absent.stderr


def test_what_is_installed_has_the_code_version_of_its_sources(client: Path) -> None:
    """So a result that an image made is reused by a checkout of the same sources, and the other way
    round."""
    program = (
        "import sys; from flowmap.steps.code_version import code_version; print(*map(code_version, "
        "sys.argv[1:]))"
    )
    command = [str(client / "python"), "-c", program, *STEPS]
    installed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=client)
    assert installed.stdout.split() == [code_version(step) for step in STEPS]


def test_the_client_compiles(client: Path, tmp_path: Path) -> None:
    lock, output = tmp_path / "images.lock", tmp_path / "pipeline.yaml"
    lock.write_text(f"cpu: {IMAGES.cpu}\ntrain: {IMAGES.train}\n")
    example = str(ROOT / "examples" / "digits.yaml")
    done = call(
        client, "compile", example, "--profile", "cluster-gpu", "--images", str(lock), "-o", str(output)
    )
    assert done.returncode == 0, done.stderr
    assert output.read_text().startswith("# PIPELINE DEFINITION")


def test_the_client_lists_models(client: Path, tmp_path: Path) -> None:
    done = call(client, "models", "--root", str(tmp_path), "--html", str(tmp_path / "models.html"))
    assert done.returncode == 0, done.stderr
    assert "No models yet" in (tmp_path / "models.html").read_text()


@pytest.mark.parametrize(
    "words",
    [
        ("submit", "CONFIG", "--images", "LOCK"),
        ("submit", "CONFIG", "--images", "LOCK", "--on-change"),
        ("schedule", "CONFIG", "--cron", "0 3 * * *", "--images", "LOCK"),
        ("schedule", "list"),
        ("status",),
        ("logs", "run", "data_prep"),
        ("retry", "run"),
        ("cancel", "run"),
    ],
    ids=" ".join,
)
def test_the_client_comes_as_far_as_kubeflow(client: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    """Which is not there: with torch or anything else missing it would not come that far.

    With one: tests/kubeflow.
    """
    (tmp_path / "images.lock").write_text(f"cpu: {IMAGES.cpu}\ntrain: {IMAGES.train}\n")
    files = {"CONFIG": str(ROOT / "examples" / "digits.yaml"), "LOCK": str(tmp_path / "images.lock")}
    done = call(client, *(files.get(word, word) for word in words), "--kubeflow", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert "Kubeflow Pipelines at http://127.0.0.1:1 can't be reached" in done.stderr


def test_the_client_plans_and_prints_metrics(client: Path, tmp_path: Path) -> None:
    config = str(ROOT / "examples" / "digits.yaml")
    planned = call(client, "plan", config, "--root", str(tmp_path), "--profile", "cluster-gpu")
    assert planned.returncode == 0, planned.stderr
    printed = call(client, "metrics", "--root", str(tmp_path))
    assert printed.returncode == 0, printed.stderr
    assert "flowmap_runs" in printed.stdout


def test_what_needs_more_says_what_to_install(client: Path, tmp_path: Path) -> None:
    done = call(client, "init", str(tmp_path), "-o", str(tmp_path / "c.yaml"))
    assert done.returncode == 1
    assert "is not installed; pip install 'flowmap[local]' brings it" in done.stderr
    assert "Traceback" not in done.stderr
