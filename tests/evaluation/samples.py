"""Samples, judges and what is measured of them, for the tests of evaluation."""

import numpy as np
import torch
from numpy.typing import NDArray

from flowmap.data.dataset import Split
from flowmap.evaluation.judge import Panel
from flowmap.evaluation.measure import Measurer
from flowmap.modality.images.judging import make_judges
from flowmap.rewards.preference import PreferenceNetwork

SHAPE = (1, 4, 4)


def normal(num: int, num_dims: int, seed: int, mean: float = 0.0, scale: float = 1.0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(mean, scale, (num, num_dims))


def split(num: int, seed: int, num_prompts: int = 2) -> Split:
    generator = torch.Generator().manual_seed(seed)
    return Split(torch.randn(num, *SHAPE, generator=generator), torch.arange(num) % num_prompts)


def measurer(num_prompts: int = 2, num_samples: int = 60) -> Measurer:
    """With an untrained judge."""
    torch.manual_seed(0)
    judge = Panel(make_judges(SHAPE, num_prompts), num_prompts).eval()
    reward = PreferenceNetwork(SHAPE, num_prompts).eval()
    held_out = split(20, 1, num_prompts)
    return Measurer.of(judge, reward, split(40, 2, num_prompts), held_out, num_samples, torch.device("cpu"))
