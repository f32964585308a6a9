"""What changed between two data artifacts is told, and what did not is not."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from flowmap.data.drift import Look, _alike, compare, compared, read_looks, stability
from flowmap.data.encoded import CAPTIONED
from flowmap.data.facts import FACTS, DataFacts
from flowmap.errors import DataError
from flowmap.modality.images.likeness import difference_hash
from flowmap.prompts.facts import PromptFacts

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
    same = compared(look(names, prompts), look(names, prompts))
    assert (same.added, same.removed, same.shared, same.moved) == (0, 0, 400, 0)
    assert set(same.psi.values()) == {0.0}
    assert same.near_duplicates is None
    other = compared(
        look(names, prompts), look([*names[10:], "x", "y"], [*prompts[10:], "c", "a"], split="judge")
    )
    assert (other.counts, other.added, other.removed, other.moved) == ((400, 392), 2, 10, 390)
    assert (other.new_prompts, other.gone_prompts) == (("c",), ())


def test_what_moved_and_by_how_much() -> None:
    names = [f"{index:04d}" for index in range(4000)]
    even, uneven = ["a", "b"] * 2000, ["a"] * 3200 + ["b"] * 800
    found = compared(look(names, even), look(names, uneven, brightness=1.0))
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
    found = compared(Look(table, hashes), Look(table, hashes))
    assert found.near_duplicates == 1


def test_who_looks_like_another_is_found_without_comparing_all() -> None:
    """As comparing all with all has it; a hash that many share is one."""
    hashes = RANDOM.integers(0, 1 << 64, 300, dtype=np.uint64)
    hashes[:40] = hashes[0]
    hashes[50:90] = hashes[100:140] ^ np.array([1 << (index % 63) for index in range(40)], np.uint64)
    hashes[90:95] = hashes[140:145] ^ np.uint64(0b11 << 21 | 1 << 60)  # three bits are too many
    apart = np.bitwise_count(hashes[:, None] ^ hashes[None])
    np.testing.assert_array_equal(_alike(hashes), (apart <= 2).sum(1) > 1)
    assert _alike(hashes).sum() == 40 + 80


@pytest.fixture
def kept(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, prompts: tuple[str, ...], captions: list[str], **seen: list[float]) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        facts = DataFacts(
            modality="images",
            prompts=prompts,
            shape=(3, 8, 8),
            num_read=0,
            num_duplicates=0,
            splits={"base": 0},
            counts={},
            expectations=(),
            prompt_facts=PromptFacts(kept_from_grpo=prompts[:1]),
        )
        (folder / FACTS).write_text(facts.model_dump_json())
        if captions:
            digests = [f"{name}{index}" if "new" in text else text for index, text in enumerate(captions)]
            table = {
                "digest": digests,
                "caption": captions,
                "rows": 8,
                "columns": range(1, 1 + len(captions)),
            }
            pd.DataFrame(table | seen).to_parquet(folder / CAPTIONED, index=False)
        return folder

    return write


def test_prompts_alone_and_pictures_with_captions_are_compared_too(kept: Callable[..., Path]) -> None:
    old = read_looks(kept("old", ("a", "b", "c"), ["one red cat", "two dogs"]))
    seen = {
        "brightness": [0.1, 0.2, 0.3],
        "contrast": [1.0, 1.0, 1.0],
        "likeness": [7 | 1 << 63, 1 << 40, 6 | 1 << 63],
    }
    new = read_looks(kept("new", ("b", "c", "d"), ["one red cat", "new red cats", "two dogs"], **seen))
    assert list(old) == ["prompts", "pictures with captions"]
    found = compare(old, new)
    prompts, pictures = found.both["prompts"], found.both["pictures with captions"]
    assert (prompts.new_prompts, prompts.gone_prompts, prompts.moved) == (("d",), ("a",), 1)
    assert prompts.psi == {}  # each is there once, before and after
    assert (pictures.counts, pictures.added, pictures.removed) == ((2, 3), 1, 0)
    assert pictures.new_prompts == ("new red cats",)
    assert set(pictures.psi) == {"words of captions", "pixels"}  # the old one kept no more
    assert pictures.near_duplicates == 2
    again = compare(new, new).both["pictures with captions"]
    assert set(again.psi) == {"words of captions", "pixels", "brightness", "contrast"}
    assert set(again.psi.values()) == {0.0}
    alone = read_looks(kept("alone", ("a",), []))
    less = compare(new, alone)
    assert (less.only_first, less.only_second, less.most) == (("pictures with captions",), (), math.inf)
    assert 0 < found.most < math.inf
    with pytest.raises(DataError, match="the first has prompts and the other data: nothing to compare"):
        compare(alone, {"data": look(["x"], ["a"])})


@pytest.mark.parametrize("words", ["a {} cat", "{}貓在樹上"])
def test_captions_move_with_their_words_whatever_the_script(words: str, kept: Callable[..., Path]) -> None:
    def captions(name: str, colours: str) -> dict[str, Look]:
        texts = [f"{words.format(colours[index % len(colours)])} {index}" for index in range(3000)]
        return read_looks(kept(name, ("a",), texts))

    old, same, other = captions("old", "紅藍綠"), captions("same", "綠紅藍"), captions("other", "黑白藍")
    pictures = "pictures with captions"
    assert compare(old, same).both[pictures].psi["words of captions"] < 0.01
    assert compare(old, other).both[pictures].psi["words of captions"] > 0.25


def test_many_classes_that_are_all_others_have_moved() -> None:
    names = [f"{index:05d}" for index in range(20_000)]
    found = compared(look(names, names), look(names, [f"x{name}" for name in names]))
    assert found.psi["prompts"] > 0.5
