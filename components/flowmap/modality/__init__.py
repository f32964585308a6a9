"""What differs between images and anything else, behind protocols: reading, corruption, judging, pictures,
sizes.

    corrupt = corruption("images").corrupt

Each facet of a modality is a module, `flowmap.modality.<modality>.<facet>`, that only the steps import which
use it: so an edit of how pictures are drawn trains nothing again. Nothing outside a modality knows what its
data look like.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

from flowmap.modality.protocols import (
    Corruption,
    Forecasting,
    Judging,
    Looking,
    Pictures,
    Reading,
    Sizes,
)

if TYPE_CHECKING:
    from flowmap.settings import DataPrep

IMAGES, POINTS, SERIES = "images", "points", "series"


def modality_of(section: DataPrep) -> str:
    """What kind of data a source has: images, unless it says otherwise."""
    if section.is_series:
        return SERIES
    return POINTS if section.source == POINTS else IMAGES


def facet_modules(modality: str, *facets: str) -> tuple[str, ...]:
    """The modules of those facets, for the code version of a step that uses them."""
    return tuple(f"flowmap.modality.{modality}.{facet}" for facet in facets)


def reading(modality: str) -> Reading:
    """How the user's data are read."""
    return cast(Reading, _facet(modality, "reading"))


def looking(modality: str) -> Looking:
    """How the user's data are looked at first."""
    return cast(Looking, _facet(modality, "looking"))


def corruption(modality: str) -> Corruption:
    """How data are made worse, for preference pairs where the user has none."""
    return cast(Corruption, _facet(modality, "corruption"))


def judging(modality: str) -> Judging:
    """The networks that judge."""
    return cast(Judging, _facet(modality, "judging"))


def forecasting(modality: str) -> Forecasting:
    """How forecasts are judged; of a modality whose data are what came."""
    return cast(Forecasting, _facet(modality, "judging"))


def pictures(modality: str) -> Pictures:
    """How samples are shown."""
    return cast(Pictures, _facet(modality, "pictures"))


def sizes(modality: str) -> Sizes:
    """How large a network and how many updates the data ask for."""
    return cast(Sizes, _facet(modality, "sizes"))


def _facet(modality: str, facet: str) -> object:
    return importlib.import_module(f"flowmap.modality.{modality}.{facet}")
