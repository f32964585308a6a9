"""Words are what they say, to a recogniser of text too, and the same on every reading."""

from itertools import product
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from flowmap.modality.images.lettered import FIRST, LAST, MIDDLE, read_lettered
from flowmap.modality.protocols import Read
from flowmap.rewards import Samples
from flowmap.rewards.building import Materials, build_rewards
from flowmap.settings import OcrSettings, RunConfig


@pytest.fixture(scope="module")
def found() -> Read:
    return read_lettered()


def test_every_word_stands_in_every_typeface(found: Read) -> None:
    assert found.data.shape == (19_200, 1, 16, 32)
    assert found.data.min() == -1
    assert len(set(found.ids)) == len(found.ids)
    assert found.attributes is not None
    words = {"".join(each.values()) for each in found.attributes.values()}
    assert words == {"".join(each) for each in product(FIRST, MIDDLE, LAST)}
    assert found.attributes['the word "b a d"'] == {"first": "b", "middle": "a", "last": "d"}
    assert set(found.prompts) == set(found.attributes)


def test_a_recogniser_reads_them(found: Read) -> None:
    chosen = list(range(0, len(found.ids), 401))
    data = torch.from_numpy(found.data[chosen])[:, None]
    prompts = [found.prompts[row] for row in chosen]
    (ocr,) = build_rewards([OcrSettings(kind="ocr")], Materials(Path(), torch.device("cpu")))
    samples = Samples(data, prompts)
    assert (ocr.reward.score(samples) == 1).float().mean() > 0.95


def test_they_take_no_other_size() -> None:
    with pytest.raises(ValidationError, match="words are 16x32 in grey and take neither resize nor color"):
        RunConfig.model_validate({"name": "x", "data_prep": {"source": "words", "resize": [32, 32]}})
