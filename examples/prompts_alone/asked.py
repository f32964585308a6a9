"""Rewards of one's own for pictures such as "a red three on blue": do they show what their prompt asks for?

`nearness` is paid: how rightly strokes are read, and how far colours are off. `is_as_asked` judges, with a
reader that has learnt from other handwritings: 1 or 0.
"""

from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from flowmap.rewards import Samples

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COLOURS = {
    "blue": (0.18, 0.30, 0.95),
    "green": (0.12, 0.72, 0.20),
    "red": (0.90, 0.12, 0.12),
    "white": (0.95, 0.95, 0.95),
    "yellow": (0.95, 0.85, 0.12),
}


def nearness(samples: Samples) -> torch.Tensor:
    read, off = looked_at(samples, reader(half=0, width=100))
    return read.clamp(1e-4, 0.98).log() - 8 * (off - 0.05).clamp(min=0)


def is_as_asked(samples: Samples) -> torch.Tensor:
    read, off = looked_at(samples, reader(half=1, width=150))
    return ((read > 0.5) & (off < 0.12)).float()


@cache
def reader(half: int, width: int) -> MLPClassifier:
    """Of strokes, (64,) from 0 to 1; learnt from every second one of scikit-learn's digits, with noise of
    several strengths."""
    source, random = load_digits(), np.random.default_rng(half)
    strokes, digits = source.images[half::2].reshape(-1, 64) / 16, source.target[half::2]
    strengths = (0.0, 0.05, 0.1, 0.15)
    noisy = np.concatenate([strokes + each * random.standard_normal(strokes.shape) for each in strengths])
    learner = MLPClassifier((width,), max_iter=300, random_state=half, alpha=1e-2)
    return learner.fit(noisy.clip(0, 1), np.tile(digits, len(strengths)))


def looked_at(samples: Samples, by: MLPClassifier) -> tuple[torch.Tensor, torch.Tensor]:
    """The chance that each shows its digit, and how far levels are off its colours, (groups, members)."""
    read, off = [], []
    for pictures, prompt in zip(samples.data.cpu(), samples.prompts, strict=True):
        _, front, digit, _, back = prompt.split()
        ink, far = strokes_of(pictures, COLOURS[front], COLOURS[back])
        read.append(torch.from_numpy(by.predict_proba(ink.double().numpy())[:, DIGITS.index(digit)]))
        off.append(far)
    return torch.stack(read).float(), torch.stack(off)


def strokes_of(
    pictures: torch.Tensor, front: tuple[float, ...], back: tuple[float, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """How much of the stroke's colour is where, (members, 64), and how far levels lie off the line between
    both colours."""
    ends = (torch.tensor(front)[:, None, None], torch.tensor(back)[:, None, None])
    levels, along = (pictures.clamp(-1, 1) + 1) / 2 - ends[1], ends[0] - ends[1]
    ink = (levels * along).sum(1) / along.square().sum()
    aside = (levels - ink[:, None] * along).square().sum(1).mean((1, 2)).sqrt()
    beyond = (ink - ink.clamp(0, 1)).abs().mean((1, 2))
    small = torch.nn.functional.avg_pool2d(ink.clamp(0, 1)[:, None], 2)
    return small.flatten(1), aside + beyond
