"""scikit-learn's digits, enlarged and painted: "a red three on blue".

Every handwriting is painted in all twenty pairs of colours, each time in shades of its own. So the world is
small and what a prompt demands has three parts, as prompts of large models do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flowmap.modality.protocols import Read

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COLOURS = {
    "blue": (0.18, 0.30, 0.95),
    "green": (0.12, 0.72, 0.20),
    "red": (0.90, 0.12, 0.12),
    "white": (0.95, 0.95, 0.95),
    "yellow": (0.95, 0.85, 0.12),
}
SIDE = 16
_SHADE = 0.04
_SEED = 20260702
_PAIRS = [(front, back) for front in COLOURS for back in COLOURS if front != back]


def read_tinted() -> Read:
    """All paintings, (35940, 3, 16, 16); those of one handwriting have one origin."""
    from sklearn.datasets import load_digits

    source, generator = load_digits(), np.random.default_rng(_SEED)
    data, ids, prompts, origins = [], [], [], []
    attributes: dict[str, dict[str, str]] = {}
    for number, (levels, digit) in enumerate(zip(source.images, source.target.tolist(), strict=True)):
        strokes = _enlarged(levels)
        for front, back in _PAIRS:
            prompt = f"a {front} {DIGITS[digit]} on {back}"
            attributes[prompt] = {"digit": DIGITS[digit], "colour": front, "background": back}
            data.append(_painted(strokes, COLOURS[front], COLOURS[back], generator))
            ids.append(f"digits/{number:04d}/{front}-{back}")
            prompts.append(prompt)
            origins.append(f"digits/{number:04d}")
    return Read(ids, np.stack(data), prompts, origins=origins, attributes=attributes)


def _enlarged(levels: NDArray[np.float64]) -> NDArray[np.float32]:
    """How much ink is where, from 0 to 1, (16, 16)."""
    picture = Image.fromarray((levels / 16).astype(np.float32))
    enlarged = picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(enlarged, dtype=np.float32).clip(0, 1)


def _painted(
    strokes: NDArray[np.float32],
    front: tuple[float, ...],
    back: tuple[float, ...],
    generator: np.random.Generator,
) -> NDArray[np.float32]:
    """Shape (3, 16, 16), in [-1, 1]."""
    inks = np.array([front, back]) + _SHADE * generator.standard_normal((2, 3))
    levels = inks[1, :, None, None] * (1 - strokes) + inks[0, :, None, None] * strokes
    painted: NDArray[np.float32] = (levels.clip(0, 1) * 2 - 1).astype(np.float32)
    return painted
