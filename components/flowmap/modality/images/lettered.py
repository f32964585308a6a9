"""Short words in the typefaces that come with matplotlib: 'the word "b a d"'.

Every word is a consonant, a vowel and a consonant, so that what a prompt demands has three parts, and a
recogniser of text can say whether a picture shows them. In a prompt the letters stand apart: a text encoder
that is trained on few words learns them as such.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from flowmap.modality.protocols import Read

FIRST, MIDDLE, LAST = "bdfhjlmprs", "aeiou", "dmnt"
ROWS, COLUMNS = 16, 32
_FACES = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSansMono-Bold"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBol"),
    *("STIXGeneralItalic", "STIXGeneralBolIta", "cmr10", "cmss10", "cmb10", "cmtt10"),
)
_EACH = 6  # pictures of a word in a typeface, each of its own size and place
_FINER = 4  # drawn so many times as large, and averaged
_SEED = 20261127


def read_lettered() -> Read:
    """All pictures, (19200, 1, 16, 32), white on black, in capitals."""
    generator = np.random.default_rng(_SEED)
    data, ids, prompts = [], [], []
    attributes: dict[str, dict[str, str]] = {}
    for letters in product(FIRST, MIDDLE, LAST):
        word, prompt = "".join(letters), f'the word "{" ".join(letters)}"'
        attributes[prompt] = dict(zip(("first", "middle", "last"), letters, strict=True))
        for face, number in product(_FACES, range(_EACH)):
            data.append(_drawn(word.upper(), face, generator) * 2 - 1)
            ids.append(f"words/{word}/{face}-{number}")
            prompts.append(prompt)
    return Read(ids, np.stack(data)[:, None], prompts, attributes=attributes)


def _drawn(word: str, face: str, generator: np.random.Generator) -> NDArray[np.float32]:
    """How much ink is where, from 0 to 1, (16, 32)."""
    rows, columns = ROWS * _FINER, COLUMNS * _FINER
    left, top, right, bottom = _font(face, rows).getbbox(word)
    most = min(0.92 * columns / (right - left), 0.86 * rows / (bottom - top))
    font = _font(face, int(rows * most * generator.uniform(0.88, 1)))
    left, top, right, bottom = font.getbbox(word)
    across = (columns - (right - left)) * generator.uniform(0.3, 0.7) - left
    down = (rows - (bottom - top)) * generator.uniform(0.3, 0.7) - top
    picture = Image.new("L", (columns, rows))
    ImageDraw.Draw(picture).text((across, down), word, fill=255, font=font)
    small = picture.resize((COLUMNS, ROWS), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32) / np.float32(255)


def _font(face: str, size: int) -> ImageFont.FreeTypeFont:
    import matplotlib

    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    return ImageFont.truetype(folder / f"{face}.ttf", size)
