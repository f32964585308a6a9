"""Splits never overlap nor move; a failed expectation says which, how many, and which images."""

import numpy as np
import pandas as pd
import pytest

from flowmap.data_prep.splits import content_digest, split_of
from flowmap.data_prep.step import describe
from flowmap.data_prep.validation import validate
from flowmap.errors import DataError
from flowmap.modality.images.reading import read
from flowmap.modality.protocols import Read
from flowmap.settings import DataPrep
from flowmap.settings.sections import Shares

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


def test_an_expectation_that_can_not_be_checked_is_a_failure() -> None:
    with pytest.raises(DataError, match="could not be checked"):
        validate(table_of().drop(columns="mean"))
