"""Splits never overlap nor move; a failed expectation says which, how many, and which images."""

import itertools
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from flowmap.data.dataset import read_facts, read_preferences, read_split
from flowmap.data.holding_out import content_digest
from flowmap.data_prep.splits import split_of
from flowmap.data_prep.step import check_prompts, describe, run
from flowmap.data_prep.validation import validate
from flowmap.errors import ConfigError, DataError
from flowmap.modality.images.reading import read
from flowmap.modality.protocols import Read
from flowmap.settings import DataPrep, RunConfig, load_config
from flowmap.settings.data import Expectation, Shares

SHARES = Shares().model_dump()


def table_of(num: int = 400) -> pd.DataFrame:
    found = read(DataPrep())
    first = Read(found.ids[:num], found.data[:num], found.prompts[:num])
    table = describe(first, tuple("0123456789"))
    return table.assign(split=[split_of(digest, SHARES) for digest in table["digest"]])


def test_no_image_is_in_two_splits_and_every_split_gets_its_share() -> None:
    table = table_of(1797)
    assert table.groupby("digest")["split"].nunique().max() == 1
    for split, share in SHARES.items():
        assert abs((table["split"] == split).mean() - share) < 0.04


def test_more_data_and_another_order_move_no_image() -> None:
    images = read(DataPrep()).data
    before = {content_digest(image): split_of(content_digest(image), SHARES) for image in images[:300]}
    shuffled = images[np.random.default_rng(0).permutation(len(images))]
    after = {content_digest(image): split_of(content_digest(image), SHARES) for image in shuffled}
    assert all(after[digest] == split for digest, split in before.items())


def test_the_digest_of_an_image_covers_its_shape() -> None:
    image = np.zeros((1, 4, 9), np.float32)
    assert content_digest(image) != content_digest(image.reshape(1, 6, 6))


def test_good_data_pass_every_expectation() -> None:
    rows = validate(table_of())
    assert len(rows) == 11
    assert {row["num_rows"] for row in rows} == {400}


def test_a_failed_expectation_is_named_with_its_count_and_the_first_images() -> None:
    table = table_of()
    table.loc[20:31, "max"] = 1.5
    with pytest.raises(DataError) as caught:
        validate(table)
    told = str(caught.value)
    assert "expect_column_values_to_be_between(max) failed for 12 of 400 images" in told
    assert "digits/0020, digits/0021" in told
    assert "digits/0030" not in told


def test_every_failed_expectation_is_told_at_once() -> None:
    table = table_of(120)
    table.loc[3, "prompt"] = None
    table.loc[4, "split"] = "elsewhere"
    with pytest.raises(DataError) as caught:
        validate(table)
    told = str(caught.value)
    assert "expect_column_values_to_not_be_null(prompt) failed for 1 of 120 images: digits/0003" in told
    assert "expect_column_values_to_be_in_set(split) failed for 1 of 120 images: digits/0004" in told


def test_what_the_user_expects_is_checked_besides() -> None:
    bright = Expectation(
        type="expect_column_values_to_be_between", kwargs={"column": "mean", "min_value": -0.5}
    )
    few = Expectation(type="expect_table_row_count_to_be_between", kwargs={"max_value": 10})
    own = len(validate(table_of()))
    rows = validate(table_of(), more=[bright])
    assert len(rows) == own + 1
    assert rows[-1]["column"] == "mean"
    dark = table_of().assign(mean=[-0.9 if index == 3 else 0.0 for index in range(len(table_of()))])
    with pytest.raises(DataError) as told:
        validate(dark, more=[bright, few])
    assert "of expectations.json and data_prep.expectations" in str(told.value)
    assert f"expect_column_values_to_be_between(mean) failed for 1 of {len(dark)} images" in str(told.value)
    assert "expect_table_row_count_to_be_between(table) failed" in str(told.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"type": "expect_column_values_to_sparkle"}, "expect_column_values_to_sparkle"),
        ({"type": "expect_column_values_to_be_unique"}, "expect_column_values_to_be_unique: .*column"),
    ],
)
def test_an_expectation_that_there_is_none_of_is_told(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=rf"^data_prep\.expectations: {told}"):
        validate(table_of(), more=[Expectation.model_validate(given)])


def test_expectations_stand_in_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    entry = "{type: expect_column_max_to_be_between, kwargs: {column: mean, max_value: 0.9}}"
    file.write_text(f"name: x\ndata_prep: {{expectations: [{entry}]}}\n")
    config = load_config(file)
    assert RunConfig.model_validate_json(config.to_json()) == config
    assert config.data_prep.decisive()["expectations"][0]["kwargs"] == {"column": "mean", "max_value": 0.9}
    assert "expectations" not in DataPrep().decisive()
    with pytest.raises(ConfigError, match="write an expectation's name"):
        load_config(file, ["data_prep.expectations=[{type: mean}]"])


SUITE: dict[str, Any] = {
    "name": "ours",
    "expectations": [
        {
            "type": "expect_column_max_to_be_between",
            "kwargs": {"column": "mean", "max_value": 0.9},
            "id": "8c6f5b1e-0000-4000-8000-000000000000",
            "severity": "critical",
        }
    ],
    "meta": {"great_expectations_version": "1.24.1"},
}


@pytest.mark.parametrize(
    "told", [SUITE, [{key: SUITE["expectations"][0][key] for key in ("type", "kwargs")}]]
)
def test_expectations_stand_in_a_file_beside_the_configuration(tmp_path: Path, told: Any) -> None:
    (tmp_path / "ours.json").write_text(json.dumps(told))
    file = tmp_path / "c.yaml"
    file.write_text("name: x\ndata_prep: {expectations: ours.json}\n")
    config = load_config(file)
    assert config.data_prep.expectations == (
        Expectation(type="expect_column_max_to_be_between", kwargs={"column": "mean", "max_value": 0.9}),
    )
    assert RunConfig.model_validate_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "data_prep.expectations: .*ours.yaml can't be read"),
        ("a: [", "data_prep.expectations: .*ours.yaml: not YAML"),
        ("mean", "ours.yaml holds no list of expectations"),
        ("- mean", r"data_prep.expectations\[0\]|data_prep.expectations.0"),
        ("- {type: mean}", "write an expectation's name"),
    ],
)
def test_a_file_of_expectations_that_is_none_is_told(tmp_path: Path, text: str | None, told: str) -> None:
    if text is not None:
        (tmp_path / "ours.yaml").write_text(text)
    (tmp_path / "c.yaml").write_text("name: x\ndata_prep: {expectations: ours.yaml}\n")
    with pytest.raises(ConfigError, match=told):
        load_config(tmp_path / "c.yaml")


def test_an_expectation_that_can_not_be_checked_is_a_failure() -> None:
    with pytest.raises(DataError, match="could not be checked"):
        validate(table_of().drop(columns="mean"))


def prepared(source: Path, out: Path, **changes: object) -> dict[str, bytes]:
    """The files of the artifact that is made of a source."""
    out.mkdir()
    section = DataPrep.model_validate({"source": str(source), "resize": None, **changes})
    # All of a Context that the step uses; a whole one takes a run.
    context: Any = SimpleNamespace(section=section, out=out, scratch=out / "scratch", expectations=[])
    run(context)
    return {path.name: path.read_bytes() for path in out.iterdir()}


def arrays(path: Path, order: NDArray[np.int64], **changed: str) -> Path:
    """Digits as an .npz, in an order; some with another prompt."""
    found = read(DataPrep())
    levels = np.round((found.data[:600, 0] + 1) * 127.5).astype(np.uint8)
    prompts = np.array([changed.get(f"row{index}", found.prompts[index]) for index in range(600)])
    np.savez(path, images=levels[order], prompts=prompts[order])
    return path


def test_the_order_of_rows_decides_nothing(tmp_path: Path) -> None:
    order = np.arange(600)
    first = prepared(arrays(tmp_path / "a.npz", order), tmp_path / "first")
    second = prepared(arrays(tmp_path / "b.npz", order[::-1]), tmp_path / "second")
    assert second == first
    digests = pd.read_parquet(tmp_path / "first" / "table.parquet")["digest"]
    assert digests.is_monotonic_increasing
    data, labels = (
        read_split(tmp_path / "first", "base").data,
        read_split(tmp_path / "first", "base").prompts,
    )
    shown = {datum.numpy().tobytes(): prompt for datum, prompt in zip(data, labels.tolist(), strict=True)}
    there = read(DataPrep(source=str(tmp_path / "a.npz")))
    expected = {
        datum.tobytes(): int(prompt) for datum, prompt in zip(there.data, there.prompts, strict=True)
    }
    assert shown.items() <= expected.items()


def test_one_image_under_two_prompts_is_named_and_left_out_where_that_is_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twice = np.concatenate([np.arange(600), [5]])
    source = arrays(tmp_path / "a.npz", twice)
    with np.load(source) as found:
        images, prompts = found["images"], found["prompts"]
    prompts[-1] = "0"
    for order in (slice(None), slice(None, None, -1)):
        np.savez(source, images=images[order], prompts=prompts[order])
        with pytest.raises(DataError, match=r"1 images stand under several prompts .*'0'\) = .*'5'\)"):
            prepared(source, tmp_path / f"refused{order.step}")
    told = json.loads(prepared(source, tmp_path / "out", max_conflicts=1)["data.json"])
    assert (told["num_read"], told["num_conflicts"], told["num_duplicates"]) == (601, 2, 0)
    assert sum(told["splits"].values()) == 599
    assert "left out 1 images that stand under several prompts" in capsys.readouterr().err


def test_prompts_that_differ_by_capitals_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_prompts(Read(["a", "b"], np.zeros((2, 1, 4, 4), np.float32), ["Cat", "cat"]))
    assert "differ by capitals alone count as different: 'Cat' (1), 'cat' (1)" in capsys.readouterr().err


def test_what_somebody_asked_to_have_left_out_is_gone_with_all_of_the_same_content(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By name or digest; the others stay in their splits, whatever goes."""
    folder = pictures(tmp_path / "pictures")
    shutil.copy(folder / "0003.png", folder / "copy.png")
    table = pd.read_csv(folder / "metadata.csv")
    copy = table[table["file_name"] == "0003.png"].assign(file_name="copy.png")
    pd.concat([table, copy]).to_csv(folder / "metadata.csv", index=False)
    prepared(folder, tmp_path / "all")
    before = pd.read_parquet(tmp_path / "all" / "table.parquet").set_index("digest")["split"]
    other = before.index[7]
    capsys.readouterr()
    prepared(folder, tmp_path / "fewer", exclude=["copy.png", other[:12], "absent.png"])
    said = capsys.readouterr()
    assert "3 data left out as asked; 1 of 3 match nothing: absent.png" in said.out + said.err
    after = pd.read_parquet(tmp_path / "fewer" / "table.parquet").set_index("digest")["split"]
    gone = set(before.index) - set(after.index)
    assert len(gone) == 2
    assert other in gone
    assert after.equals(before.drop(list(gone)))
    facts = read_facts(tmp_path / "fewer")
    assert (facts.num_read, facts.num_excluded, facts.num_duplicates) == (len(before) + 1, 3, 0)
    assert "num_excluded" not in (tmp_path / "all" / "data.json").read_text()


def test_pairs_that_show_what_is_left_out_go_too(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "pictures")
    table = pd.read_csv(folder / "metadata.csv", dtype=str)
    shown = table[table["prompt"] == "0"]["file_name"].tolist()[:20]
    pairs = [("0", one, two) for one, two in itertools.pairwise(shown)]
    pd.DataFrame(pairs, columns=["prompt", "chosen", "rejected"]).to_csv(tmp_path / "pairs.csv", index=False)
    preferences = str(tmp_path / "pairs.csv")
    prepared(folder, tmp_path / "all", preferences=preferences)
    whole = read_preferences(tmp_path / "all")
    prepared(folder, tmp_path / "fewer", preferences=preferences, exclude=shown[1:10])
    fewer = read_preferences(tmp_path / "fewer")
    assert whole is not None
    assert fewer is not None
    assert len(fewer) < len(whole)


def pictures(folder: Path) -> Path:
    """Digits as files with their table."""
    found = read(DataPrep())
    folder.mkdir()
    names = [f"{index:04d}.png" for index in range(400)]
    for name, datum in zip(names, found.data, strict=False):
        Image.fromarray(np.round((datum[0] + 1) * 127.5).astype(np.uint8)).save(folder / name)
    table = pd.DataFrame({"file_name": names, "prompt": found.prompts[:400]})
    table.to_csv(folder / "metadata.csv", index=False)
    return folder
