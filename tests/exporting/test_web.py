"""A page draws what its model draws, and what it needs and can't have is said before anything is made."""

import math
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Page

from flowmap.errors import ConfigError
from flowmap.exporting.about import About
from flowmap.exporting.web import write_page
from flowmap.models import MlpFacts
from tests.exporting.test_graph import GRID, KINDS, SIZES, filled
from tests.text_to_image.facts import FACTS
from tests.text_to_image.tiny import tiny
from tests.web_page import Visit, serving

ABOUT = About("tiny@1", "d" * 64, GRID)


@pytest.mark.parametrize(
    ("npm", "told"),
    [
        (
            None,
            r"which npm fetches, and there is no npm here: run `npm pack .*name the file .* with --runtime",
        ),
        ("echo 'the network is down' >&2; exit 1", r"`npm pack .*` failed: the network is down"),
        ("exit 0", r"`npm pack .*` failed: it says nothing"),
        ("echo other > x.tgz", r"x.tgz is not onnxruntime-web@.*, whose SHA-512 is"),
    ],
)
def test_a_runtime_that_can_not_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, npm: str | None, told: str
) -> None:
    commands = tmp_path / "bin"
    commands.mkdir()
    if npm is not None:
        (commands / "npm").write_text(f"#!/bin/sh\n{npm}\n")
        (commands / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(commands))
    folder = tmp_path / "page"
    folder.mkdir()
    with pytest.raises(ConfigError, match=told):
        write_page(filled(KINDS["mlp"]), KINDS["mlp"], ABOUT, None, folder)
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_what_has_no_picture(tmp_path: Path) -> None:
    series = KINDS["occasions"].model_copy(update={"modality": "series"})
    with pytest.raises(
        ConfigError, match="draws images and points, and tiny@1 makes series: take --format onnx"
    ):
        write_page(filled(KINDS["occasions"]), series, ABOUT, None, tmp_path)


POINTS = MlpFacts.model_validate({"shape": (2,), "prompts": ("a", "b"), "modality": "points", **SIZES})
PICTURE = """() => {
  const canvas = document.querySelector("canvas");
  const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return [canvas.height, canvas.width, Array.from(data)];
}"""


def noise_of(seed: int, num: int, shape: tuple[int, ...]) -> torch.Tensor:
    """That of a whole seed on the page: mulberry32's numbers, in pairs by Box and Muller."""
    state = (seed * 0x9E3779B9 + 1) & 0xFFFFFFFF

    def uniform() -> float:
        nonlocal state
        state = (state + 0x6D2B79F5) & 0xFFFFFFFF
        t = (state ^ state >> 15) * (state | 1) & 0xFFFFFFFF
        t ^= t + ((t ^ t >> 7) * (t | 61) & 0xFFFFFFFF) & 0xFFFFFFFF
        return ((t ^ t >> 14) & 0xFFFFFFFF) / 2**32

    found: list[float] = []
    while len(found) < num * math.prod(shape):
        radius, angle = math.sqrt(-2 * math.log(1 - uniform())), 2 * math.pi * uniform()
        found += [radius * math.cos(angle), radius * math.sin(angle)]
    return torch.tensor(found[: num * math.prod(shape)]).reshape(num, *shape)


def visited(page: Page, url: str) -> tuple[int, torch.Tensor]:
    """Seed and picture, (rows, columns, 4), of the page as it opens."""
    visit = Visit(page)
    page.goto(url)
    page.wait_for_function("document.getElementById('told').textContent.includes('as it was trained')")
    visit.check(url)
    rows, columns, data = page.evaluate(PICTURE)
    return int(page.input_value("#seed")), torch.tensor(data).reshape(rows, columns, 4)


def test_points_stand_where_the_model_puts_them(tmp_path: Path, runtime: Path, page: Page) -> None:
    model, folder = filled(POINTS), tmp_path / "page"
    folder.mkdir()
    write_page(model, POINTS, ABOUT, runtime, folder)
    with serving(folder) as url:
        seed, picture = visited(page, url)
    points = model.sample(["a"] * 256, noise_of(seed, 256, (2,)), GRID)
    places = 272 + points / points.abs().max() * 544 * 0.48
    opaque = picture[..., 3] > 0
    assert bool(opaque[(544 - places[:, 1]).long(), places[:, 0].long()].all())
    assert int(opaque.sum()) < 256 * 60  # and nowhere else: a point is a disc of 28 pixels or so


@pytest.mark.filterwarnings("ignore")
def test_latents_are_decoded_to_the_model_s_own_pictures(tmp_path: Path, runtime: Path, page: Page) -> None:
    model, folder = tiny(tmp_path / "tiny"), tmp_path / "page"
    folder.mkdir()
    write_page(model, FACTS, ABOUT, runtime, folder)
    assert (folder / "decode.onnx").is_file()
    with serving(folder) as url:
        seed, picture = visited(page, url)
    expected = model.sample([FACTS.prompts[0]] * 16, noise_of(seed, 16, FACTS.latent), GRID)
    levels = (127.5 * (1 + expected.clamp(-1, 1))).round()
    height, width = FACTS.shape[1:]
    for index, each in enumerate(levels):
        row, column = (index // 4) * (height + 1), (index % 4) * (width + 1)
        shown = picture[row : row + height, column : column + width, :3].permute(2, 0, 1)
        assert float((shown - each).abs().max()) <= 1
