"""The user's own images: read as they are, and every offender named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from flowmap.data.external import external_digests
from flowmap.data_prep.splits import split_of
from flowmap.data_prep.step import check_prompts, images_of_each_prompt
from flowmap.errors import DataError
from flowmap.modality.images.reading import read
from flowmap.settings import DataPrep

NUM = 12


def image(path: Path, size: tuple[int, int] = (8, 6), mode: str = "L", value: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value, 0, 255)).save(path)


def metadata(folder: Path, rows: list[tuple[str, str]]) -> None:
    pd.DataFrame(rows, columns=["file_name", "prompt"]).to_csv(folder / "metadata.csv", index=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve grey images of 6 x 8 for the prompts `häuser` and `cats`."""
    path = tmp_path / "images"
    for index in range(NUM):
        image(path / f"{index}.png", value=10 * index)
    metadata(path, [(f"{index}.png", "häuser" if index % 2 else "cats") for index in range(NUM)])
    return path


def section(source: Path | str, **changes: Any) -> DataPrep:
    return DataPrep.model_validate({"source": str(source), **changes})


def test_a_folder_is_read_in_the_order_of_its_table(folder: Path) -> None:
    found = read(section(folder))
    assert found.data.shape == (NUM, 1, 6, 8)
    assert found.ids[:2] == ["0.png", "1.png"]
    assert set(found.prompts) == {"häuser", "cats"}
    np.testing.assert_allclose(found.data[3], 30 / 127.5 - 1, rtol=1e-6)


def test_a_parquet_table_does_as_well(folder: Path) -> None:
    pd.read_csv(folder / "metadata.csv").to_parquet(folder / "metadata.parquet")
    (folder / "metadata.csv").unlink()
    assert len(read(section(folder)).ids) == NUM


def test_colour_and_grey_and_size_are_as_asked(folder: Path) -> None:
    image(folder / "0.png", mode="RGB", value=255)
    mixed = read(section(folder))
    assert mixed.data.shape == (NUM, 3, 6, 8)
    np.testing.assert_allclose(mixed.data[0, :, 0, 0], [1, -1, 1])
    np.testing.assert_allclose(mixed.data[1, 0], mixed.data[1, 2])
    assert read(section(folder, color="grey", resize=[4, 4])).data.shape == (NUM, 1, 4, 4)


def test_smaller_images_are_means_over_areas(tmp_path: Path) -> None:
    levels = np.arange(2 * 8 * 8, dtype=np.uint8).reshape(2, 8, 8)
    np.savez(tmp_path / "x.npz", images=levels, prompts=np.array(["a", "b"]))
    found = read(section(tmp_path / "x.npz", resize=[4, 4])).data
    expected = levels.reshape(2, 4, 2, 4, 2).mean((2, 4))
    np.testing.assert_allclose((found[:, 0] + 1) * 127.5, expected, atol=0.51)


@pytest.mark.parametrize("scale", [1.0, 255.0])
def test_an_npz_may_hold_fractions_or_levels(tmp_path: Path, scale: float) -> None:
    images = np.random.default_rng(0).random((5, 6, 7, 3)) * scale
    np.savez(tmp_path / "x.npz", images=images, prompts=np.arange(5))
    found = read(section(tmp_path / "x.npz"))
    assert found.data.shape == (5, 3, 6, 7)
    assert found.prompts == ["0", "1", "2", "3", "4"]
    np.testing.assert_allclose(found.data.transpose(0, 2, 3, 1), images / scale * 2 - 1, atol=0.005)


def truncate(folder: Path) -> None:
    data = (folder / "3.png").read_bytes()
    (folder / "3.png").write_bytes(data[: len(data) // 2])


def enormous(folder: Path) -> None:
    Image.new("1", (30_000, 30_000)).save(folder / "4.png")


def many_orphans(folder: Path) -> None:
    for index in range(13):
        image(folder / "more" / f"{index:02d}.png")


BAD: list[tuple[Callable[[Path], object], str]] = [
    (truncate, r"1 images can't be read .*3\.png \("),
    (lambda folder: (folder / "2.png").write_text("hello"), r"2\.png \(no image\)"),
    (enormous, r"4\.png \(.*900000000 pixels"),
    (
        lambda folder: image(folder / "5.png", size=(9, 9)),
        r"2 sizes: 6 x 8 \(0\.png\), 9 x 9 \(5\.png\); set .*resize",
    ),
    (lambda folder: (folder / "6.png").unlink(), r"1 rows name a file that is not there: 6\.png"),
    (many_orphans, r"13 files have no row in metadata\.csv: more/00\.png, .*more/09\.png, and 3 more"),
    (lambda folder: metadata(folder, []), "has no rows"),
    (
        lambda folder: (folder / "metadata.csv").write_text("file,prompt\n"),
        "no column file_name; it has file, prompt",
    ),
    (lambda folder: (folder / "metadata.csv").unlink(), r"has no metadata\.csv or metadata\.parquet"),
    (
        lambda folder: metadata(folder, [(f"{i}.png", "" if i < 3 else "x") for i in range(NUM)]),
        r"3 images have an empty prompt: 0\.png, 1\.png, 2\.png",
    ),
    (
        lambda folder: metadata(folder, [(f"{i}.png", "x" * 201) for i in range(NUM)]),
        "12 images have a prompt of more than 200 characters: .* and 2 more",
    ),
    (lambda folder: metadata(folder, [("../x.png", "a")]), r"lead out of the folder: \.\./x\.png"),
    (lambda folder: metadata(folder, [("0.png", "a"), ("0.png", "b")]), r"more than one row: 0\.png"),
]


@pytest.mark.parametrize(("damage", "told"), BAD)
def test_bad_data_are_named(folder: Path, damage: Callable[[Path], object], told: str) -> None:
    damage(folder)
    with pytest.raises(DataError, match=told):
        check_prompts(read(section(folder)))


def test_a_few_unreadable_images_may_be_allowed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truncate(folder)
    found = read(section(folder, max_unreadable=1))
    assert "3.png" not in found.ids
    assert len(found.ids) == NUM - 1
    assert "left out 1 unreadable images: 3.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"images": np.zeros((3, 4, 4))}, "has no array prompts"),
        ({"images": np.zeros((3, 4, 4)), "prompts": np.zeros(2)}, "for 2 prompts"),
        ({"images": np.zeros((3, 4, 4, 2)), "prompts": np.zeros(3)}, "expected"),
        ({"images": np.full((3, 4, 4), -1.0), "prompts": np.zeros(3)}, "values from -1.0"),
        ({"images": np.full((3, 4, 4), np.nan), "prompts": np.zeros(3)}, "values from nan"),
        ({"images": np.full((3, 4, 4), 300.0), "prompts": np.zeros(3)}, "to 300.0"),
    ],
)
def test_a_bad_npz_is_explained(tmp_path: Path, arrays: dict[str, Any], told: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataError, match=told):
        read(section(tmp_path / "x.npz"))


def test_a_missing_source_is_named_with_what_there_could_be(tmp_path: Path) -> None:
    for source in (tmp_path / "absent", tmp_path / "absent.npz"):
        with pytest.raises(DataError, match="absent"):
            read(section(source))
    with pytest.raises(DataError, match=r"neither a folder, nor a \.npz file, nor one of digits, mnist"):
        external_digests(section("digitz"))


def test_any_change_of_the_data_changes_their_digest(folder: Path) -> None:
    before = external_digests(section(folder))
    assert external_digests(section(folder)) == before
    image(folder / "7.png", value=1)
    assert external_digests(section(folder)) != before
    assert external_digests(DataPrep()) == {}


def test_a_prompt_with_too_few_images_for_the_splits_is_named() -> None:
    shares = {"base": 0.5, "reward": 0.17, "judge": 0.17, "holdout": 0.16}
    digests = [f"{index * 997:064x}"[::-1] for index in range(200)]
    table = pd.DataFrame({"prompt": ["many"] * 198 + ["rare"] * 2, "digest": digests})
    table["split"] = [split_of(digest, shares) for digest in digests]
    with pytest.raises(DataError, match=r"1 of 2 prompts have too few images .*'rare' \(2 images, none in"):
        images_of_each_prompt(table, tuple(shares))
