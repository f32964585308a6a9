"""The files for CI systems, each checked by its own linter, and that they call commands there are."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from flowmap_pipelines.cli import cli
from flowmap_pipelines.options import OrElse
from tests.go_programs import ACTIONLINT, go_program

FOLDER = Path(__file__).parents[2] / "docs" / "ci"


@pytest.fixture(scope="session")
def actionlint() -> Path:
    return go_program(ACTIONLINT)


@pytest.mark.parametrize("name", ["github.yaml", "github-cluster.yaml"])
def test_a_workflow_for_github_is_one(actionlint: Path, name: str) -> None:
    words = [str(actionlint), "-no-color", str(FOLDER / name)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_file_for_gitlab_keeps_to_its_schema() -> None:
    checker = Path(sys.executable).with_name("check-jsonschema")
    words = [str(checker), "--builtin-schema", "vendor.gitlab-ci", str(FOLDER / "gitlab.yaml")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_sensor_knows_its_events_and_fills_in_the_jobs_key() -> None:
    """Argo Events has no linter; the cluster's tests ask a real API server whether the Job is one."""
    source, sensor = yaml.safe_load_all((FOLDER / "argo-events.yaml").read_text())
    events = {name for kind in ("webhook", "minio") for name in source["spec"][kind]}
    dependencies = {each["name"]: each["eventName"] for each in sensor["spec"]["dependencies"]}
    assert set(dependencies.values()) == events
    (trigger,) = sensor["spec"]["triggers"]
    assert set(trigger["template"]["conditions"].split(" || ")) == set(dependencies)
    for parameter in trigger["template"]["k8s"]["parameters"]:
        found: Any = trigger["template"]["k8s"]["source"]["resource"]
        *path, last = parameter["dest"].split(".")
        for part in path:
            found = found[int(part) if part.isdigit() else part]
        assert last in found, parameter
        assert parameter["src"]["dependencyName"] in dependencies


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_command_and_option_in_it_exists(path: Path) -> None:
    text = re.sub(r"\\\n\s*", " ", path.read_text())
    if path.stem == "gitlab":
        words = [shlex.split(line) for line in yaml.safe_load(text)["retrain"]["script"]]
    elif path.stem == "argo-events":
        (container,) = _jobs_pod(text)["containers"]
        words = [container["command"]]
    else:
        steps = yaml.safe_load(text)["jobs"]["retrain"]["steps"]
        lines = "\n".join(step.get("run", "") for step in steps).splitlines()
        words = [shlex.split(line.partition("||")[0]) for line in lines]
    calls = [call for call in words if call and call[0] == "flowmap"]
    assert calls
    for _, name, *rest in calls:
        command: Any = cli.commands[name]
        if isinstance(command, OrElse):
            command = command.commands[command.default]
        known = {option for each in command.params if isinstance(each, click.Option) for option in each.opts}
        assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= known


def _jobs_pod(text: str) -> Any:
    _, sensor = yaml.safe_load_all(text)
    job = sensor["spec"]["triggers"][0]["template"]["k8s"]["source"]["resource"]
    return job["spec"]["template"]["spec"]
