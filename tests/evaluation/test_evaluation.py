"""Distances that are known exactly, a judge that is calibrated, figures that parts do not change."""

import math

import numpy as np
import pytest
import torch

from flowmap.evaluation.charts import COLOURS, Line, line_chart
from flowmap.evaluation.distances import Reach, frechet_distance, kernel_distance
from flowmap.evaluation.judge import Moved, Panel, calibration_error, train_judge
from flowmap.evaluation.measure import FIGURES
from flowmap.evaluation.shown import first_of_each, some_of
from flowmap.modality.images.judging import make_judges, moved
from flowmap.modality.images.pictures import contact_sheet
from tests.evaluation.samples import SHAPE, measurer, normal, split


def test_the_frechet_distance_of_two_gaussians_is_the_closed_form() -> None:
    x, y = normal(200_000, 3, 0), normal(200_000, 3, 1, mean=0.5, scale=2.0)
    assert frechet_distance(x, y) == pytest.approx(3 * 0.25 + 3 * (2 - 1) ** 2, rel=0.01)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("sizes", [(20, 90), (90, 90), (20, 30)])
def test_it_is_the_same_the_other_way_round_with_fewer_data_than_features_too(
    sizes: tuple[int, int],
) -> None:
    random = np.random.default_rng(0)
    x, y = (random.normal(size=(size, 50)) @ random.normal(size=(50, 50)) for size in sizes)
    there = frechet_distance(x, y)
    assert there == pytest.approx(frechet_distance(y, x))
    covariances = np.cov(x.T), np.cov(y.T)
    roots = np.linalg.eigvals(covariances[0] @ covariances[1]).real.clip(0) ** 0.5
    between = ((x.mean(0) - y.mean(0)) ** 2).sum()
    told = between + sum(np.trace(each) for each in covariances) - 2 * roots.sum()
    assert there == pytest.approx(told, rel=1e-5)


def test_the_kernel_distance_is_zero_on_average_between_equal_distributions() -> None:
    same = [kernel_distance(normal(100, 4, seed), normal(100, 4, 1000 + seed)) for seed in range(200)]
    assert abs(np.mean(same)) < 4 * np.std(same) / math.sqrt(len(same))
    assert kernel_distance(normal(500, 4, 0, mean=1.0), normal(500, 4, 1)) > 0.1


def test_collapse_costs_recall_and_strangeness_costs_precision() -> None:
    real = normal(300, 4, 0)
    collapsed = Reach.of(real, normal(300, 4, 1, scale=0.05)).figures()
    assert collapsed["precision"] > 0.95
    assert collapsed["recall"] < 0.1
    strange = Reach.of(real, normal(300, 4, 2, scale=5.0)).figures()
    assert strange["precision"] < 0.3


def test_a_panel_is_the_mean_of_its_members_and_calibration_only_sharpens_it() -> None:
    torch.manual_seed(0)
    panel = Panel(make_judges(SHAPE, 3), 3).eval().requires_grad_(False)
    x = torch.randn(2000, *SHAPE)
    mean = torch.stack([member(x).softmax(-1) for member in panel.members]).mean(0)
    torch.testing.assert_close(panel(x).exp(), mean)
    told = panel(x)
    # Truth is as sharp as this panel would be at a quarter of its temperature.
    prompt = torch.multinomial((4 * told).softmax(1), 1, generator=torch.Generator().manual_seed(0))[:, 0]
    panel.calibrate(x, prompt)
    assert 0.15 < float(panel.temperature) < 0.4
    assert calibration_error(panel(x), prompt) < 0.1
    assert (panel(x).argmax(1) == told.argmax(1)).all()


def test_the_calibration_error_of_known_confidences() -> None:
    log_probability = torch.tensor([[0.95, 0.05]] * 4 + [[0.35, 0.65]] * 4).log()
    prompt = torch.tensor([0, 0, 0, 1, 1, 1, 0, 0])
    expected = 0.5 * abs(0.95 - 0.75) + 0.5 * abs(0.65 - 0.5)
    assert calibration_error(log_probability, prompt) == pytest.approx(expected)


def test_the_judge_learns_what_is_there_to_learn_and_its_networks_differ() -> None:
    data = split(200, 0)
    x = data.data + (2 * data.prompts - 1)[:, None, None, None]
    torch.manual_seed(0)
    members = make_judges(SHAPE, 2)
    panel = train_judge(type(data)(x, data.prompts), members, 2, 60, seed=0)
    unseen = split(200, 1)
    right = panel(unseen.data + (2 * unseen.prompts - 1)[:, None, None, None]).argmax(1) == unseen.prompts
    assert right.float().mean() > 0.95
    assert len({type(member) for member in members}) == 2


def test_images_that_a_judge_learns_from_are_moved_and_stay_what_they_are() -> None:
    x = torch.arange(2 * 3 * 5 * 4, dtype=torch.float).reshape(2, 3, 5, 4)
    wide = torch.nn.functional.pad(x, (2, 2, 2, 2), mode="replicate")
    places = [(down, right) for down in range(5) for right in range(5)]
    whole = {place: wide[:, :, place[0] : place[0] + 5, place[1] : place[1] + 4] for place in places}
    seen = set()
    for seed in range(60):
        y = moved(x, 2, torch.Generator().manual_seed(seed))
        for index in range(2):
            (at,) = [place for place in places if torch.equal(whole[place][index], y[index])]
            seen.add(at)
    assert seen == set(places)


def test_a_judge_of_few_images_reads_what_was_moved_too() -> None:
    """A dot in a place of eight: known in one place each, and asked one pixel beside it."""
    prompts = torch.arange(2).repeat(60)
    x = torch.full((120, 1, 8, 8), -1.0)
    x[prompts == 0, :, 1:4, 3] = 1.0
    x[prompts == 1, :, 3, 1:4] = 1.0
    data = type(split(2, 0))(x, prompts)
    beside = moved(x, 1, torch.Generator().manual_seed(5))

    def right(move: Moved | None) -> float:
        torch.manual_seed(0)
        panel = train_judge(data, make_judges((1, 8, 8), 2), 2, 150, seed=0, moved=move)
        return float((panel(beside).argmax(1) == prompts).float().mean())

    assert right(lambda x, generator: moved(x, 1, generator)) > max(0.98, right(None))


def test_equal_data_draw_equal_charts() -> None:
    lines = [Line("one", [1, 2, 4], [3.0, 2.0, 1.0], COLOURS["base"])]
    chart = line_chart("title", "x", lines, levels={"real": 0.5}, log_x=True)
    assert chart == line_chart("title", "x", lines, levels={"real": 0.5}, log_x=True)
    assert "currentColor" in chart
    assert chart.startswith("<svg")


def test_a_contact_sheet_has_a_cell_for_each_image() -> None:
    from io import BytesIO

    from PIL import Image

    for channels, mode in ((1, "L"), (3, "RGB")):
        sheet = Image.open(BytesIO(contact_sheet(torch.ones(5, channels, 4, 6), num_columns=3, scale=2)))
        assert (sheet.mode, sheet.size) == (mode, (2 * (3 * 7 - 1), 2 * (2 * 5 - 1)))
        assert sheet.convert("L").getpixel((0, 0)) == 255


def test_the_same_seeds_are_chosen_for_each_prompt() -> None:
    prompt = torch.tensor([0, 0, 0, 1, 1, 1])
    assert first_of_each(prompt, 2, some_of(prompt, 10)).tolist() == [0, 1, 3, 4]
    assert first_of_each(prompt, 2, some_of(prompt, 1)).tolist() == [0, 1]


def test_figures_do_not_depend_on_the_parts_that_samples_come_in() -> None:
    x, prompt = torch.randn(60, *SHAPE, generator=torch.Generator().manual_seed(1)), torch.arange(60) % 2
    shown = torch.tensor([3, 17, 18, 59])
    whole = measurer().measure([(x, prompt)], shown)
    parts = measurer().measure(zip(x.split(7), prompt.split(7), strict=True), shown)
    counted = {
        "precision",
        "recall",
        "density",
        "coverage",
    }  # at the very edge it may be either
    for name, value in whole.figures.items():
        assert parts.figures[name] == pytest.approx(value, rel=1e-5, abs=0.02 if name in counted else 0)
    torch.testing.assert_close(parts.score, whole.score)
    assert parts.moments.spread() == pytest.approx(whole.moments.spread())
    assert torch.equal(parts.shown, x[shown])
    told = measurer().judge.read(x, prompt).score
    assert torch.equal(whole.worst, x[told.argsort(stable=True)[:32]])
    right = [x[(prompt == p) & whole.right].flatten(1) for p in (0, 1)]  # of others the variety is an error
    within = sum((each - each.mean(0)).square().mean(1).sum() for each in right if len(each) > 1)
    pooled = float(within) / sum(len(each) - 1 for each in right if len(each) > 1)
    assert whole.figures["diversity"] == pytest.approx(pooled**0.5, rel=1e-4)


def test_distances_are_of_as_many_samples_as_there_are_real_data_to_compare() -> None:
    """40 here, whatever the number of samples is: they depend on it."""
    x, prompt = torch.randn(200, *SHAPE, generator=torch.Generator().manual_seed(1)), torch.arange(200) % 2
    some = measurer(num_samples=200)
    chosen = np.linspace(0, 199, 40).astype(int)
    few = some.measure([(x[chosen], prompt[chosen])]).figures
    many = some.measure([(x, prompt)]).figures
    for name in ("fd_judge", "kid_judge", "recall", "coverage"):
        assert many[name] == few[name]


def test_copies_of_training_data_are_counted() -> None:
    real, some = split(40, 2), measurer()
    assert some.measure([(real.data, real.prompts)]).figures["copies"] == 1
    near = real.data + 0.01 * torch.randn(real.data.shape)
    assert some.measure([(near, real.prompts)]).figures["copies"] == 1
    other = split(400, 9)
    assert some.measure([(other.data, other.prompts)]).figures["copies"] < 0.1


def test_a_score_counts_between_chance_and_what_real_data_get() -> None:
    some = measurer()
    x = 5 * torch.randn(300, *SHAPE)
    measured = some.measure([(x, torch.arange(300) % 2)])
    assert some.floor == pytest.approx(-math.log(2))
    assert float(measured.score.max()) == pytest.approx(some.ceiling)
    assert float(measured.score.min()) == pytest.approx(some.floor)


def test_samples_that_are_not_finite_have_no_figures() -> None:
    x, prompt = torch.randn(20, *SHAPE), torch.arange(20) % 2
    assert set(measurer().measure([(x, prompt)]).figures) == set(FIGURES)
    x[3, 0, 1, 1] = math.inf
    found = measurer().measure([(x, prompt)])
    assert all(math.isnan(value) for value in found.figures.values())
    assert found.reach is None
