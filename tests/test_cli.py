"""The command line from outside: a process, its output, its exit status."""

import subprocess
import sys

import flowmap


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flowmap_pipelines.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_version() -> None:
    done = run("--version")
    assert done.returncode == 0
    assert flowmap.__version__ in done.stdout


def test_an_unknown_command_is_wrong_use_and_shows_no_traceback() -> None:
    done = run("runn")
    assert done.returncode == 2
    assert "runn" in done.stderr
    assert "Traceback" not in done.stderr
