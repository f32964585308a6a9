"""Series: windows in time, what forecasts are judged by, and what simpler methods say."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from flowmap.errors import DataError
from flowmap.modality import modality_of
from flowmap.modality.protocols import Occasions
from flowmap.modality.series import judging
from flowmap.modality.series.pictures import contact_sheet, labelled_rows
from flowmap.modality.series.reading import read, windows
from flowmap.settings import DataPrep, RunConfig, SeriesSettings
from flowmap.settings.data import Shares

SHARES = {"base": 0.5, "reward": 0.2, "judge": 0.1, "holdout": 0.2}
SIZES = SeriesSettings(past=12, future=4)


def wave(num: int = 400) -> NDArray[np.float64]:
    time = np.arange(num)
    values: NDArray[np.float64] = np.sin(2 * np.pi * time / 12) + 0.01 * time
    return values


def test_no_future_of_a_split_reaches_into_that_of_the_next() -> None:
    found = windows([f"{index:03d}" for index in range(400)], wave(), SIZES, SHARES)
    assert found.splits is not None
    where = {name: [i for i, split in enumerate(found.splits) if split == name] for name in SHARES}
    for earlier, later in zip(list(SHARES)[:-1], list(SHARES)[1:], strict=True):
        assert max(where[earlier]) + SIZES.future <= min(where[later])
    assert where["holdout"][-1] == len(found.ids) - 1


def test_a_window_is_what_was_known_and_what_came_of_it_in_the_base_splits_units() -> None:
    values = wave()
    found = windows([str(index) for index in range(400)], values, SIZES, SHARES)
    assert found.context is not None
    assert found.splits is not None
    base = found.data[[split == "base" for split in found.splits]]
    assert base.std() == pytest.approx(0.5, rel=1e-4)
    unit = (values[12] - values[11]) / found.data[0, 0]
    np.testing.assert_allclose(found.context[7] * unit, values[7:19] - values[18], atol=1e-5)
    np.testing.assert_allclose(found.data[7] * unit, values[19:23] - values[18], atol=1e-5)
    assert found.prompts[7] == "after 18"


def test_a_unit_does_not_depend_on_what_comes_later() -> None:
    later = np.concatenate([wave(), 50 * wave(40)])
    times = [str(index) for index in range(440)]
    there = {name: share * 400 / 440 for name, share in SHARES.items()}
    there["holdout"] += 1 - sum(there.values())
    one, two = windows(times[:400], wave(), SIZES, SHARES), windows(times, later, SIZES, there)
    np.testing.assert_allclose(one.data[:100], two.data[:100], rtol=0.02)


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    rows = [f"2020-{index:04d},{'' if index == 50 else value}" for index, value in enumerate(wave())]
    file.write_text("time,value\n" + "\n".join(rows))
    section = DataPrep(source=str(file), series=SIZES, shares=Shares(**SHARES))
    assert modality_of(section) == "series"
    found = read(section)
    assert len(found.ids) == 400 - 16 + 1
    assert np.isfinite(found.data).all()


def table(num: int, value: Callable[[int], object]) -> str:
    return "time,value\n" + "\n".join(f"{index},{value(index)}" for index in range(num))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("when,value\n1,2\n", "has no column time; it has when, value"),
        ("time,value\n1,2\n2,x\n", "1 values are no numbers, at 2"),
        ("time,value\n1,2\n1,3\n", "every row needs a time of its own"),
        (
            "time,value\n" + "\n".join(f"{i},{i}" for i in range(50)),
            "35 windows of 12 past and 4 future ones",
        ),
        (
            "time,value\n" + "\n".join(f"{i},{i if i % 9 else ''}" for i in range(400)),
            "45 of 400 values are missing",
        ),
        ("time,value\n" + "\n".join(f"{i},1" for i in range(400)), "does not change"),
    ],
)
def test_what_can_not_be_forecast_is_named(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=told):
        read(DataPrep(source=str(file), series=SIZES, shares=Shares(**SHARES)))


def test_settings_of_images_are_refused_for_series_and_the_other_way_round() -> None:
    with pytest.raises(ValueError, match="'co2' is a series: leave out caption_noise"):
        DataPrep(source="co2", caption_noise=0.2)
    with pytest.raises(ValueError, match="series is set, but source 'digits' is none"):
        DataPrep(source="digits", series=SIZES)


def test_a_judge_moves_images_alone() -> None:
    given: dict[str, Any] = {"name": "x", "evaluation": {"judge_shifts": 1}}
    assert RunConfig.model_validate(given).evaluation.judge_shifts == 1
    for source in ("co2", "points"):
        with pytest.raises(ValueError, match=f"judge_shifts moves .* data_prep.source '{source}' has none"):
            RunConfig.model_validate(given | {"data_prep": {"source": source}})


@pytest.mark.parametrize(
    ("source", "trained", "evaluated", "told"),
    [
        (
            "digits",
            "energy",
            "mmd",
            "the reward energy is of forecasts, and data_prep.source 'digits' is no series",
        ),
        (
            "co2",
            "energy",
            "hit",
            "evaluation.rewards: hit knows what came at the occasions that GRPO draws alone",
        ),
    ],
)
def test_forecasts_rewards_are_refused_before_anything_is_trained(
    source: str, trained: str, evaluated: str, told: str
) -> None:
    given = {
        "name": "x",
        "data_prep": {"source": source},
        "grpo_finetuning": {"rewards": [{"kind": trained}]},
        "evaluation": {"rewards": [{"kind": evaluated}]},
    }
    with pytest.raises(ValueError, match=told):
        RunConfig.model_validate(given)


def test_simpler_methods_know_what_they_can_know() -> None:
    """On a wave with a trend the season before is off by the trend, and least squares have it exactly."""
    found = windows([str(index) for index in range(400)], wave(), SIZES, SHARES)
    assert found.context is not None
    context, came = torch.from_numpy(found.context), torch.from_numpy(found.data)
    occasions = Occasions(context[:200], came[:200])
    said = judging.forecasts(occasions, context[300:310], 5, torch.Generator().manual_seed(0))
    errors = {name: (each - came[300:310, None]).abs().mean() for name, each in said.items()}
    assert said["persistence"].shape == (10, 5, 4)
    assert errors["autoregression, statsmodels"] < 1e-3
    assert errors["autoregression, statsmodels"] < errors["season before"] < errors["persistence"]


def test_a_hit_ends_within_a_tenth_of_what_came() -> None:
    came = torch.zeros(3, 4)
    x = torch.tensor([[9.0, 9, 9, 0.09], [0, 0, 0, 0.11], [0, 0, 0, -0.1]])
    assert judging.hits(x, came).tolist() == [True, False, True]


def test_pictures_of_forecasts_that_are_not_finite_are_drawn_too() -> None:
    x = torch.randn(6, 4)
    x[2, 1] = float("nan")
    assert contact_sheet(x, 3).startswith(b"\x89PNG")
    assert labelled_rows({"base": x, "real": x}, ["after 1"] * 6, {"base": x[:, -1] > 0}).startswith(
        b"\x89PNG"
    )
