"""Sizes for those who set none, and the model that sizes come to."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from flowmap.data.facts import DataFacts
from flowmap.errors import ConfigError
from flowmap.modality import sizes
from flowmap.models import DitFacts, MlpFacts
from flowmap.settings import BaseTraining

_TRANSFORMER_WIDTH = 128


def with_sizes(section: BaseTraining, modality: str, shape: Sequence[int], num_data: int) -> BaseTraining:
    """The section with width, updates and batch size filled in where they are left open.

    Args:
        shape: of one datum; num_data: in the base split.
    """
    suggested = sizes(modality).suggest(shape, num_data)
    if section.patch is not None:
        suggested["width"] = _TRANSFORMER_WIDTH
    left_open = {name: value for name, value in suggested.items() if getattr(section, name) is None}
    return section.model_copy(update=left_open)


def model_facts(section: BaseTraining, data: DataFacts) -> MlpFacts | DitFacts:
    """The model that a section with sizes makes of data.

    Raises:
        ConfigError: `patch` does not suit the data or the width.
    """
    assert section.width is not None
    known = {
        "shape": data.shape,
        "prompts": data.prompts,
        "width": section.width,
        "depth": section.depth,
        "max_frequency": section.max_frequency,
        "modality": data.modality,
    }
    if section.patch is None:
        return MlpFacts.model_validate(known)
    try:
        return DitFacts.model_validate({**known, "patch": section.patch})
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"base_training.patch: {said}") from None
