"""Pictures of images: what is written beside and above them is all there."""

import io

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from flowmap.modality.images.pictures import labelled_rows


def pixels(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("L"))


@pytest.mark.parametrize("num", [2, 6, 20])
@pytest.mark.parametrize("sides", [(8, 8), (14, 14), (16, 8), (8, 16)])
@pytest.mark.parametrize("title", ["0", "a red three on blue, the second of five"])
def test_no_label_runs_out_of_the_picture(num: int, sides: tuple[int, int], title: str) -> None:
    x = torch.zeros(num, 1, *sides)
    rows = dict.fromkeys(("baseline, 50 evaluations", "base trained on, 4 evaluations", "real"), x)
    right = {"real": torch.arange(num) % 2 == 0}
    found = pixels(labelled_rows(rows, [title] * num, right))
    for edge in (found[:, :2], found[:, -2:], found[:2], found[-2:]):
        assert (edge == 255).all()
    assert (found[:, :120] < 128).any()  # the labels are there
