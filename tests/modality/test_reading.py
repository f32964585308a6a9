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
from flowmap.modality.images.looking import look
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
    (many_orphans, r"13 images have no row in metadata\.csv: more/00\.png, .*more/09\.png, and 3 more"),
    (lambda folder: metadata(folder, []), "has no rows"),
    (
        lambda folder: (folder / "metadata.csv").write_text("file,prompt\n"),
        "no column file_name; it has file, prompt",
    ),
    (
        lambda folder: (folder / "metadata.csv").unlink(),
        r"has no metadata\.csv, metadata\.jsonl or metadata\.parquet",
    ),
    (
        lambda folder: metadata(folder, [(f"{i}.png", "" if i < 3 else "x") for i in range(NUM)]),
        r"3 images have an empty prompt: 0\.png, 1\.png, 2\.png",
    ),
    (
        lambda folder: metadata(folder, [(f"{i}.png", "x" * 2001) for i in range(NUM)]),
        "12 images have a prompt of more than 2000 characters: .* and 2 more",
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
        images_of_each_prompt(table, ("many", "rare"), tuple(shares))


def test_sixteen_bits_and_fractions_are_scaled_by_their_format(folder: Path) -> None:
    deep = np.full((6, 8), 40 * 257, np.uint16)
    deep[0] = 200 * 257
    Image.fromarray(deep).save(folder / "0.png")
    Image.fromarray(deep).save(folder / "1.tif")
    Image.fromarray((deep / (2**16 - 1)).astype(np.float32)).save(folder / "2.tif")
    Image.fromarray(deep).save(folder / "3.pgm")
    names = ["0.png", "1.tif", "2.tif", "3.pgm"]
    for name in names[1:]:
        (folder / f"{name[0]}.png").unlink()
    metadata(folder, [*((name, "deep") for name in names), *((f"{i}.png", "flat") for i in range(4, NUM))])
    found = read(section(folder))
    expected = np.full((1, 6, 8), 40 / 127.5 - 1)
    expected[:, 0] = 200 / 127.5 - 1
    for index in range(len(names)):
        np.testing.assert_allclose(found.data[index], expected, atol=1e-6, err_msg=names[index])


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.full((6, 8), 3.5, np.float32), "with values from 3.5 to 3.5; expected fractions"),
        (np.full((6, 8), np.nan, np.float32), "with values from nan to nan"),
        (np.full((6, 8), 100_000, np.int32), "of 32 bits, which have no range"),
    ],
)
def test_values_without_a_range_are_refused_by_name(folder: Path, values: Any, told: str) -> None:
    Image.fromarray(values).save(folder / "0.tif")
    (folder / "0.png").unlink()
    metadata(folder, [("0.tif", "a"), *((f"{i}.png", "b") for i in range(1, NUM))])
    with pytest.raises(DataError, match=rf"1 images can't be read .*0\.tif \({told}"):
        read(section(folder))


def test_a_portrait_that_was_taken_sideways_stands_upright(tmp_path: Path) -> None:
    folder = tmp_path / "phone"
    folder.mkdir()
    lying = np.zeros((12, 18, 3), np.uint8)
    lying[:, :9] = 255  # the left half, which is the top when the camera is turned
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(lying).save(folder / "a.png", exif=exif)
    metadata(folder, [("a.png", "x")])
    found = read(section(folder)).data[0]
    assert found.shape == (3, 18, 12)
    assert (found[:, :9] == 1).all()
    assert (found[:, 9:] == -1).all()
    assert look(folder).shape == (3, 18, 12)


def test_what_lies_under_transparent_pixels_is_not_seen(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (6, 8, 4), dtype=np.uint8)
    noise[..., 3] = 0
    noise[0] = 255
    Image.fromarray(noise).save(folder / "0.png")
    blue = read(section(folder, background=[0, 0, 255])).data[0]
    np.testing.assert_allclose(blue[:, 1], np.array([-1, -1, 1])[:, None] * np.ones(8))
    assert (blue[:, 0] == 1).all()
    assert (read(section(folder)).data[0] == 1).all()
    assert "1 images have transparent parts, and were laid on" in capsys.readouterr().err
    told = look(folder).settings["background"]
    assert told == ([255, 255, 255], "1 images may be transparent")


def test_of_several_frames_the_first_is_used_and_that_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [Image.new("L", (8, 6), value) for value in (40, 200)]
    frames[0].save(folder / "0.gif", save_all=True, append_images=frames[1:])
    (folder / "0.png").unlink()
    metadata(folder, [("0.gif", "a"), *((f"{i}.png", "b") for i in range(1, NUM))])
    np.testing.assert_allclose(read(section(folder)).data[0].mean(), 40 / 127.5 - 1, atol=1e-6)
    assert "1 images have several frames, only the first is used: 0.gif" in capsys.readouterr().err


def test_a_folder_for_each_prompt_does_without_a_table(tmp_path: Path) -> None:
    for prompt in ("red disk", "blue bar"):
        for index in range(3):
            image(tmp_path / "set" / prompt / f"{index}.png", value=index)
    found = read(section(tmp_path / "set"))
    assert found.prompts == ["blue bar"] * 3 + ["red disk"] * 3
    assert found.ids[0] == "blue bar/0.png"
    assert look(tmp_path / "set").prompts == {"blue bar": 3, "red disk": 3}
    image(tmp_path / "set" / "loose.png")
    with pytest.raises(DataError, match=r"1 images lie in no folder of their prompt: loose\.png"):
        read(section(tmp_path / "set"))


def test_captions_may_stand_in_another_column_and_in_lines_of_json(folder: Path) -> None:
    rows = [f'{{"file_name": "{i}.png", "caption": "no {i % 2}"}}' for i in range(NUM)]
    (folder / "metadata.csv").unlink()
    (folder / "metadata.jsonl").write_text("\n".join(rows))
    seen = look(folder)
    assert seen.prompts == {"no 0": 6, "no 1": 6}
    assert seen.settings["prompt_column"][0] == "caption"
    assert read(section(folder, prompt_column="caption")).prompts[:2] == ["no 0", "no 1"]


def test_what_is_no_image_and_what_is_hidden_needs_no_row(folder: Path) -> None:
    for name in ("README.md", "LICENSE", "Thumbs.db", "notes.txt"):
        (folder / name).write_text("hello")
    image(folder / ".ipynb_checkpoints" / "0-checkpoint.png")
    before = external_digests(section(folder))
    assert len(read(section(folder)).ids) == sum(look(folder).prompts.values()) == NUM
    (folder / "Thumbs.db").write_text("seen again")
    image(folder / ".ipynb_checkpoints" / "1-checkpoint.png")
    assert external_digests(section(folder)) == before
    metadata(folder, [(".ipynb_checkpoints/0-checkpoint.png", "a")])
    with pytest.raises(DataError, match="1 rows name hidden files"):
        read(section(folder))


def test_what_init_takes_run_takes_and_the_other_way_round(folder: Path) -> None:
    image(folder / "more.png")
    for take in (lambda: read(section(folder)), lambda: look(folder)):
        with pytest.raises(DataError, match=r"1 images have no row in metadata\.csv: more\.png"):
            take()


def test_a_linked_folder_is_read_and_in_the_digest(folder: Path, tmp_path: Path) -> None:
    image(tmp_path / "elsewhere" / "a.png", value=1)
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    rows = [(f"{i}.png", "x") for i in range(NUM)]
    with pytest.raises(DataError, match=r"no row in metadata\.csv: linked/a\.png"):
        read(section(folder))
    metadata(folder, [*rows, ("linked/a.png", "y")])
    before = external_digests(section(folder))
    assert read(section(folder)).ids[-1] == "linked/a.png"
    image(tmp_path / "elsewhere" / "a.png", value=2)
    assert external_digests(section(folder)) != before
    (folder / "round").symlink_to(folder)
    for use in (lambda: read(section(folder)), lambda: external_digests(section(folder))):
        with pytest.raises(DataError, match="is a link to a folder that it lies in"):
            use()


def test_prompts_that_look_equal_are_equal(folder: Path) -> None:
    composed, apart = "h\u00e4user", "ha\u0308user"
    spellings = (composed, apart, f" {composed}", f"{apart}\t")
    metadata(folder, [(f"{i}.png", spellings[i % 4]) for i in range(NUM)])
    assert set(read(section(folder)).prompts) == {composed}


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        (np.array([b"cat", "häuser".encode()], dtype="S"), ["cat", "häuser"]),
        (np.array([3, 10]), ["3", "10"]),
        (np.array([3.0, 10.0]), ["3", "10"]),
        (np.array(["a ", "b"]), ["a", "b"]),
    ],
)
def test_prompts_of_an_npz_are_text_or_whole_numbers(
    tmp_path: Path, prompts: Any, expected: list[str]
) -> None:
    np.savez(tmp_path / "x.npz", images=np.zeros((2, 4, 4)), prompts=prompts)
    assert read(section(tmp_path / "x.npz")).prompts == expected


@pytest.mark.parametrize(
    ("prompts", "told"),
    [
        (np.eye(2), r"prompts of shape \(2, 2\)"),
        (np.array([0.5, 1.0]), r"1 prompts are neither text nor whole numbers: number 0 \(.*0\.5"),
        (np.array([b"\xff\xfe", b"cat"]), "1 prompts are neither text nor whole numbers: number 0"),
    ],
)
def test_other_prompts_of_an_npz_are_refused(tmp_path: Path, prompts: Any, told: str) -> None:
    np.savez(tmp_path / "x.npz", images=np.zeros((2, 4, 4)), prompts=prompts)
    with pytest.raises(DataError, match=told):
        read(section(tmp_path / "x.npz"))


def test_a_damaged_npz_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, images=np.arange(200 * 16).reshape(200, 4, 4) % 251, prompts=np.arange(200))
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[300] ^= 0xFF
    for damaged in (whole[: len(whole) // 2], b"", bytes(flipped), b"hello"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"x\.npz can't be read as \.npz"):
            read(section(path))


def test_a_damaged_picture_of_any_kind_is_named(folder: Path) -> None:
    Image.effect_noise((64, 64), 50).convert("RGB").save(folder / "0.avif")
    data = (folder / "0.avif").read_bytes()
    (folder / "0.avif").write_bytes(data.replace(b"iloc", b"ilox"))  # where its pixels lie is not said
    (folder / "0.png").unlink()
    metadata(folder, [("0.avif", "a"), *((f"{i}.png", "b") for i in range(1, NUM))])
    with pytest.raises(DataError, match=r"1 images can't be read .*0\.avif \(Failed to decode"):
        read(section(folder))


def test_a_table_from_pandas_keeps_its_prompts(folder: Path) -> None:
    names = [f"{i}.png" for i in range(NUM)]
    (folder / "metadata.csv").unlink()
    prompts = pd.Categorical(["a", None] * (NUM // 2))
    pd.DataFrame({"file_name": names, "prompt": prompts}).to_parquet(folder / "metadata.parquet")
    with pytest.raises(DataError, match=r"6 images have an empty prompt: 1\.png, 3\.png"):
        check_prompts(read(section(folder)))
    pd.DataFrame({"file_name": names, "prompt": [b"cat", b"dog"] * (NUM // 2)}).to_parquet(
        folder / "metadata.parquet"
    )
    assert read(section(folder)).prompts[:2] == ["cat", "dog"]
    pd.DataFrame({"file_name": names, "prompt": [0.5] * NUM}).to_parquet(folder / "metadata.parquet")
    with pytest.raises(DataError, match="12 values that are neither text nor whole numbers: row 1"):
        read(section(folder))
