"""What changed between two data artifacts is told, and what did not is not."""

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from flowmap.data.drift import Look, compare, stability
from flowmap.modality.images.likeness import difference_hash

RANDOM = np.random.default_rng(0)


def look(digests: list[str], prompts: list[str], brightness: float = 0.0, split: str = "base") -> Look:
    table = pd.DataFrame(
        {
            "digest": digests,
            "prompt": prompts,
            "split": split,
            "brightness": brightness + np.random.default_rng(1).normal(size=len(digests)),
            "contrast": np.random.default_rng(2).random(len(digests)),
        }
    )
    return Look(table, None)


def test_what_came_and_went() -> None:
    names = [f"{index:04d}" for index in range(400)]
    prompts = ["a", "b"] * 200
    same = compare(look(names, prompts), look(names, prompts))
    assert (same.added, same.removed, same.shared, same.moved) == (0, 0, 400, 0)
    assert set(same.psi.values()) == {0.0}
    assert same.near_duplicates is None
    other = compare(
        look(names, prompts), look([*names[10:], "x", "y"], [*prompts[10:], "c", "a"], split="judge")
    )
    assert (other.counts, other.added, other.removed, other.moved) == ((400, 392), 2, 10, 390)
    assert (other.new_prompts, other.gone_prompts) == (("c",), ())


def test_what_moved_and_by_how_much() -> None:
    names = [f"{index:04d}" for index in range(4000)]
    even, uneven = ["a", "b"] * 2000, ["a"] * 3200 + ["b"] * 800
    found = compare(look(names, even), look(names, uneven, brightness=1.0))
    assert found.psi["prompts"] == pytest.approx(0.3 * np.log(1.6) + 0.3 * np.log(2.5), rel=1e-3)
    assert found.psi["brightness"] > 0.5
    assert found.psi["contrast"] == 0


def test_the_index_of_two_draws_of_one_is_small_and_of_a_constant_nothing() -> None:
    one, other = RANDOM.normal(size=(2, 5000))
    assert stability(one, other) < 0.02
    assert stability(one, other + 0.5) > 0.1
    assert stability(np.zeros(10), np.zeros(20)) == 0


def scene(seed: int, side: int = 32) -> NDArray[np.float32]:
    """Something with shades, as pictures have them."""
    small = np.random.default_rng(seed).integers(0, 255, (6, 6)).astype(np.uint8)
    large = np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC))
    return np.asarray(large, np.float32)[None] / 127.5 - 1


def test_a_picture_that_looks_the_same_has_the_same_bits() -> None:
    one = scene(0)
    brighter = np.clip(0.8 * one + 0.1, -1, 1)
    apart = [difference_hash(one) ^ difference_hash(each) for each in (brighter, scene(0, 48), scene(1))]
    assert apart[0].bit_count() <= 2
    assert apart[1].bit_count() <= 4
    assert apart[2].bit_count() > 12


def test_near_duplicates_across_splits_are_counted() -> None:
    pictures = [scene(index) for index in range(8)] + [0.9 * scene(3), scene(11)]
    table = look([str(index) for index in range(10)], ["a"] * 10).table
    table["split"] = ["base"] * 7 + ["reward", "judge", "holdout"]
    hashes = np.array([difference_hash(each) for each in pictures], np.uint64)
    found = compare(Look(table, hashes), Look(table, hashes))
    assert found.near_duplicates == 1
