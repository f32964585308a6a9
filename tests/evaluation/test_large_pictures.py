"""Pictures of real sizes and many prompts: what is kept of them stays small."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from flowmap.data.dataset import Split
from flowmap.evaluation.features import small_pictures
from flowmap.evaluation.judge import Opinion
from flowmap.evaluation.measure import Measurer
from flowmap.evaluation.shown import SIDE_PX, made_small, num_shown, shown_indices

CPU = torch.device("cpu")
SHAPE, PROMPTS, EACH = (3, 256, 384), 60, 4


class Bright:
    """Says that what is brighter than grey is right."""

    least, capped, calibration_error = -math.inf, False, 0.0
    features = small_pictures

    def read(self, x: Tensor, prompt: Tensor) -> Opinion:
        score = x.flatten(1).mean(1)
        right = score > 0
        return Opinion(score, right, torch.where(right, prompt, -1))


class Mean(nn.Module):
    def forward(self, x: Tensor, prompt: Tensor) -> Tensor:
        return x.flatten(1).mean(1)


def parts(sides: tuple[int, int]) -> Iterator[tuple[Tensor, Tensor]]:
    """Noise in sixteen coarse squares, the same at every size; a fourth of it dark."""
    prompt = torch.arange(PROMPTS).repeat_interleave(EACH) * 7 + 1000
    for first in range(0, len(prompt), 16):
        generator = torch.Generator().manual_seed(first)
        coarse = 0.1 * torch.randn(16, 3, 4, 4, generator=generator)
        coarse = coarse + torch.where(torch.arange(16) % 4 == 0, -0.5, 0.5).view(-1, 1, 1, 1)
        yield nn.functional.interpolate(coarse, sides), prompt[first : first + 16]


def measurer(sides: tuple[int, int]) -> Measurer:
    data, prompt = (torch.cat(each)[:32] for each in zip(*parts(sides), strict=True))
    return Measurer.of(Bright(), Mean(), None, Split(data, prompt), PROMPTS * EACH, CPU)


def test_what_is_kept_of_them_does_not_grow_with_their_size() -> None:
    sides = (256, 384)
    shown = shown_indices(torch.cat([prompt for _, prompt in parts(sides)]), SHAPE)
    found = measurer(sides).measure(parts(sides), shown)
    assert len(shown) == math.prod(num_shown(SHAPE)) == 40
    assert found.shown.shape == (40, 3, 85, SIDE_PX)
    assert found.worst.shape == (32, 3, 85, SIDE_PX)
    assert found.moments.total.shape == (20, PROMPTS, 3 * 11 * 16)  # prompts that there are samples of alone
    held = sum(each.nbytes for each in vars(found.moments).values() if hasattr(each, "nbytes"))
    assert held < 6e6  # all folds, prompts and pixels would be 200 GB


def test_the_spread_of_coarse_things_is_the_same_at_every_size() -> None:
    small, large = (
        measurer(sides).measure(parts(sides)).figures["diversity"] for sides in ((16, 16), (128, 128))
    )
    assert small == pytest.approx(large, rel=1e-3)
    assert small == pytest.approx(0.1, rel=0.1)


def test_small_pictures_and_what_is_none_stay_as_they_are() -> None:
    for shape in ((5, 3, 32, 32), (5, 7), (5, 1, 900)):
        x = torch.randn(shape)
        assert made_small(x, 32) is x
    assert made_small(torch.randn(2, 1, 64, 4), 32).shape == (2, 1, 32, 2)
    assert num_shown((3, 64, 64)) == (20, 8)
    assert num_shown((900,)) == (20, 8)
