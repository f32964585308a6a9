"""How much an evaluation draws, for those who draw it and for those who plan it without torch."""

from __future__ import annotations

from flowmap.settings import Evaluation

SCALES = (1.0, 0.97, 0.94, 0.9, 0.85, 0.8, 0.7, 0.5, 0.2)  # of start noise, that a model is drawn with
BEST_OF = 4  # samples of the base, of which one is chosen
_SAMPLES, _FEWEST, _MOST_PROMPTS = 1000, 20, 600  # GenEval's 553 prompts among them


def num_asked(section: Evaluation, num_prompts: int, *, alone: bool) -> tuple[int, int]:
    """How many prompts models are asked for, and samples of each.

    Args: alone: whether they come without data, of which there may be any number.
    """
    num = min(num_prompts, section.most_prompts or _MOST_PROMPTS) if alone else num_prompts
    return num, section.samples_per_prompt or max(_FEWEST, _SAMPLES // max(num, 1))
