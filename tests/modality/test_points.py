"""Points of a plane: everything about them is known exactly, and a run of them shows it."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from flowmap.modality.points import corruption, pictures, reading, sizes
from flowmap.modality.points.judging import make_judges
from flowmap.modality.points.mixture import PROMPTS, RADIUS, SPREAD, centres, draw_points
from flowmap.settings import DataPrep
from tests.cli import flowmap

# Clouds meet half-way between neighbours; beyond the next but one nothing is lost.
HALF_WAY = RADIUS * np.sin(np.pi / len(PROMPTS)) / SPREAD
BAYES = 1 - 2 * stats.norm.sf(HALF_WAY)


def test_the_judge_is_right_as_often_as_anybody_can_be() -> None:
    (judge,) = make_judges((2,), len(PROMPTS))
    points, prompts = draw_points(200_000, seed=1)
    right = judge(torch.from_numpy(points)).argmax(1).numpy() == prompts
    assert right.mean() == pytest.approx(BAYES, abs=0.003)


def test_the_judges_probabilities_are_the_mixtures() -> None:
    (judge,) = make_judges((2,), len(PROMPTS))
    points, _ = draw_points(100, seed=2)
    density = np.stack(
        [stats.multivariate_normal.pdf(points, centre, SPREAD**2 * np.eye(2)) for centre in centres()], 1
    )
    expected = density / density.sum(1, keepdims=True)
    np.testing.assert_allclose(judge(torch.from_numpy(points)).softmax(1).numpy(), expected, atol=1e-4)
    assert not list(judge.parameters())


def test_a_prompt_is_where_its_name_says() -> None:
    where = dict(zip(PROMPTS, centres(), strict=True))
    np.testing.assert_allclose(where["north"], (0, RADIUS), atol=1e-12)
    np.testing.assert_allclose(where["southwest"], (-RADIUS / 2**0.5, -RADIUS / 2**0.5), atol=1e-12)


def test_reading_draws_the_same_points_each_time() -> None:
    one, other = (reading.read(DataPrep(source="points")) for _ in range(2))
    assert (one.data == other.data).all()
    assert (one.data.shape, set(one.prompts)) == ((4000, 2), set(PROMPTS))
    assert np.abs(one.data).max() < 1


def test_the_other_facets_take_points() -> None:
    x = torch.from_numpy(draw_points(20)[0])
    worse = corruption.corrupt(x, torch.Generator().manual_seed(0))
    assert worse.shape == x.shape
    assert float((worse - x).norm(dim=1).mean()) > SPREAD
    assert set(sizes.suggest((2,), 100)) == {"width", "updates", "batch_size"}
    marked = pictures.labelled_rows({"base": x, "real": x}, ["a"] * 20, {"base": x[:, 0] > 0})
    for png in (pictures.contact_sheet(x, 8), marked):
        assert Image.open(io.BytesIO(png)).size[0] > 200


@pytest.mark.parametrize("setting", [{"resize": (8, 8)}, {"color": "rgb"}, {"preferences": "pairs.csv"}])
def test_what_makes_no_sense_of_points_is_refused(setting: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="points"):
        DataPrep(source="points", **setting)  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_example_buys_what_the_careless_captions_cost(tmp_path: Path) -> None:
    config = Path(__file__).parents[2] / "examples" / "points.yaml"
    done = flowmap("run", str(config), "--root", str(tmp_path / "root"), "--json")
    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout)["metrics"]
    base, tuned = (metrics["models"][name]["4"] for name in ("base", "tuned"))
    assert metrics["real"]["judge_accuracy"] == pytest.approx(BAYES, abs=0.03)
    assert base["judge_accuracy"] < 0.8
    assert tuned["judge_accuracy"] > base["judge_accuracy"] + 0.1
    picture = tmp_path / "north.png"
    drawn = flowmap(
        "sample", "points", "--root", str(tmp_path / "root"), "--prompt", "north", "-o", str(picture)
    )
    assert drawn.returncode == 0, drawn.stderr
    assert Image.open(picture).size[0] > 200
