"""A registered model leaves the house: as one ONNX file that needs no torch, and as a page that draws."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page

from flowmap.exporting.web import RUNTIME
from tests.cli import flowmap
from tests.pipeline.runs import Finished
from tests.web_page import Visit, serving

WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
{code}
np.save("drawn.npy", samples)
"""


def export(root: Path, folder: Path, *more: str) -> str:
    done = flowmap("models", "export", "tiny", str(folder), *more, "--root", str(root))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_the_readme_says_draws_without_torch(root: Path, first: Finished, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    told = export(root, folder)
    assert "wrote README.md, conditions.npz, config.json, sampler.onnx to" in told
    config = json.loads((folder / "config.json").read_text())
    assert config["model"] == "tiny@2"
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    script = WITHOUT_TORCH.format(code=code)
    subprocess.run([sys.executable, "-c", script], cwd=folder, check=True, timeout=120)
    assert np.load(folder / "drawn.npy").shape == (8, *config["shape"])


def test_what_can_not_be_had_is_said(root: Path, first: Finished, tmp_path: Path) -> None:
    def refused(*more: str) -> str:
        done = flowmap("models", "export", "tiny", str(tmp_path / "out"), *more, "--root", str(root))
        assert done.returncode == 2, done.stdout
        assert not (tmp_path / "out").exists()
        return done.stderr

    told = refused("--format", "diffusers")
    assert "network of flowmap's own that diffusers does not know: take --format onnx or web" in told
    (tmp_path / "other.tgz").write_bytes(b"something else")
    told = refused("--format", "web", "--runtime", str(tmp_path / "other.tgz"))
    assert f"other.tgz is not {RUNTIME}, whose SHA-512 is" in told


@pytest.fixture(scope="module")
def exported(root: Path, first: Finished, runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web") / "tiny"
    export(root, folder, "--format", "web", "--runtime", str(runtime))
    return folder


@pytest.fixture
def served(exported: Path) -> Iterator[str]:
    with serving(exported) as url:
        yield url


PIXELS = "Array.from(document.querySelector('canvas').getContext('2d').getImageData(0, 0, 8, 8).data).join()"


def pixels(page: Page) -> str:
    found: str = page.evaluate(PIXELS)
    return found


def draws(page: Page, label: str) -> str:
    page.wait_for_function("label => document.querySelector('canvas').ariaLabel === label", arg=label)
    return pixels(page)


def test_a_page_draws_for_a_prompt_a_seed_and_a_number_of_evaluations(
    served: str, exported: Path, page: Page
) -> None:
    visit = Visit(page)
    one, *_, other = json.loads((exported / "config.json").read_text())["prompts"]
    page.goto(served)
    page.wait_for_function("document.getElementById('told').textContent.includes('ms a picture')")
    as_trained = pixels(page)
    assert "3 evaluations at 1, 0.6, 0.3, as it was trained" in (page.text_content("#told") or "")
    page.focus("#evaluations")
    page.keyboard.press("ArrowLeft")
    at_two = draws(page, f"16 samples of {one} by 2 evaluations")
    assert at_two != as_trained
    page.select_option("#prompt", label=other)
    others = draws(page, f"16 samples of {other} by 2 evaluations")
    assert others != at_two
    page.focus("#seed")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.getElementById('seed-told').textContent === '0.05'")
    page.wait_for_function(f"before => {PIXELS} !== before", arg=others)
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(f"before => {PIXELS} === before", arg=others)
    visit.check(served)


@pytest.mark.parametrize("width", [360, 1200])
def test_a_page_from_a_file_says_that_it_has_to_be_served(exported: Path, page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto((exported / "index.html").as_uri())
    page.wait_for_function("document.getElementById('told').textContent.includes('serve this folder')")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
