"""Sizes for those who set none, and the model that sizes come to."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from flowmap.data.facts import DataFacts
from flowmap.errors import ConfigError
from flowmap.modality import sizes
from flowmap.models import DitFacts, FluxFacts, MlpFacts, latent_shape
from flowmap.settings import BaseTraining, FluxSettings

_TRANSFORMER_WIDTH = 128
_BASELINE_UPDATES = 2  # for each of the map's, which take twice as long
_OF_FLUX = {"updates": 1100, "batch_size": 32}
_PATCH = 2  # latents on the side of a token


def with_sizes(section: BaseTraining, modality: str, shape: Sequence[int], num_data: int) -> BaseTraining:
    """The section with width, updates and batch size filled in where they are left open.

    Args:
        shape: of one datum; num_data: in the base split.
    """
    suggested = sizes(modality).suggest(shape, num_data)
    if section.patch is not None:
        suggested["width"] = _TRANSFORMER_WIDTH
    if section.checkpoint is not None:
        suggested |= _OF_FLUX
    if section.flux is not None:
        suggested |= {"width": section.flux.heads * section.flux.head_width, **_OF_FLUX}
    suggested["batch_size"] -= suggested["batch_size"] % (section.processes or 1)
    left_open = {name: value for name, value in suggested.items() if getattr(section, name) is None}
    return section.model_copy(update=left_open)


def baseline_updates(section: BaseTraining) -> int:
    """How long the many-step baseline is trained."""
    assert section.updates is not None
    return section.updates * _BASELINE_UPDATES if section.flux is None else section.flux.velocity_updates


def model_facts(section: BaseTraining, data: DataFacts) -> MlpFacts | DitFacts | FluxFacts:
    """The model that a section with sizes makes of data.

    Raises:
        ConfigError: `patch` or `flux` does not suit the data or the width.
    """
    assert section.width is not None
    known = {
        "shape": data.shape,
        "prompts": data.prompts,
        "width": section.width,
        "depth": section.depth,
        "max_frequency": section.max_frequency,
        "modality": data.modality,
        "prompt_facts": data.prompt_facts,
    }
    if section.flux is not None:
        if data.context is not None:
            raise ConfigError("base_training.flux: it makes images, and the data are series")
        return _flux(section.flux, data)
    if section.patch is None:
        return MlpFacts.model_validate({**known, "context": data.context})
    if data.context is not None:
        raise ConfigError("base_training.patch: patches are of images, and the data are series")
    try:
        return DitFacts.model_validate({**known, "patch": section.patch})
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"base_training.patch: {said}") from None


def _flux(sizes: FluxSettings, data: DataFacts) -> FluxFacts:
    try:
        latent = latent_shape(data.shape, sizes.latent_channels, len(sizes.autoencoder_widths) - 1, _PATCH)
    except ValueError as error:
        raise ConfigError(
            f"base_training.flux: {error}; set data_prep.resize, or fewer autoencoder_widths"
        ) from None
    return FluxFacts(
        shape=data.shape,
        prompts=data.prompts,
        latent=latent,
        patch=_PATCH,
        heads=sizes.heads,
        head_width=sizes.head_width,
        double_blocks=sizes.double_blocks,
        single_blocks=sizes.single_blocks,
        text_width=sizes.text_width,
        pooled_width=sizes.text_width,
        num_tokens=max(len(prompt.split()) for prompt in data.prompts) + 1,  # a word each, and the end
        prompt_facts=data.prompt_facts,
    )
