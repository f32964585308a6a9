"""What every section of a configuration is made of: strict models, and the kinds of values they hold."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(ge=1)]
Side = Annotated[int, Field(ge=4, le=2048)]
Level = Annotated[int, Field(ge=0, le=255)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


def written_as(pattern: str, told: str) -> AfterValidator:
    """For `Annotated[str, ...]`: a string of that pattern, whole; `told` says to people what is expected."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if compiled.fullmatch(value) is None:
            raise ValueError(f"{told} (got {value!r})")
        return value

    return AfterValidator(check)


Name = Annotated[
    str,
    written_as(
        r"[a-z0-9][a-z0-9._-]{0,62}",
        "use small letters, digits, dot, dash and underscore, at most 63 of them",
    ),
]


class _WithoutEffect:
    """Marks a setting that changes how long a step takes, or what it shows meanwhile, and no result."""


WITHOUT_EFFECT = _WithoutEffect()


class Section(BaseModel):
    """Strict, so that a number in quotes or a fraction where a count belongs is an error and no guess."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    def decisive(self) -> dict[str, Any]:
        """The values that decide a result, as they enter a step digest.

        Not among them: what is marked as without effect, and an optional setting that is left at None.
        So a new setting whose None means what was done before it changes no digest.
        """
        return _decisive(self)


Revision = Annotated[str, written_as("[0-9a-f]{40}", "write a commit's 40 hexadecimal digits")]


class Pretrained(Section):
    """A model of others, as the libraries that have it write it: folders, weights as safetensors.

    Attributes:
        source: a folder, `s3://bucket/prefix?endpoint=http://host:port`, or a name on the Hugging Face hub.
        revision: the commit of a hub's name, all 40 digits: what it points to must not change.
    """

    source: Annotated[str, Field(min_length=1)]
    revision: Revision | None = None


class Checkpoint(Pretrained):
    """One that is trained further.

    Attributes:
        convert: it is a flow-matching model of many steps, from which base training makes a map of two times
            on the data; otherwise it is one of few steps, and stays as it is.
        train: its transformer is made anew, of the sizes that its configuration says, and trained on the
            data from scratch, its velocity first and then the map; autoencoder and text encoders are taken
            over.
        guidance: with `convert`, the scale of classifier-free guidance that the model was made to be drawn
            with, such as 4.5: the map has it built in, taught by the frozen model, and the many-step
            baseline is drawn with it, two passes a step.
        precision: what its weights are held and computed in; adapters, and what GRPO makes of the network's
            answer, are float32 in any case.
    """

    convert: bool = False
    train: bool | None = None
    guidance: Annotated[float, Field(gt=1)] | None = None
    precision: Literal["float32", "bfloat16"] = "float32"

    @property
    def learns(self) -> bool:
        """Whether base training trains it on data."""
        return self.convert or bool(self.train)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.convert and self.train:
            raise ValueError("convert starts from its weights, and train from none: set one of them")
        return self

    @model_validator(mode="after")
    def _guidance_is_built_in_by_converting(self) -> Self:
        if self.guidance is not None and not self.convert:
            raise ValueError(
                "guidance is built into a map by convert: a model that stays as it is goes by what it was "
                "distilled with"
            )
        return self


class Lora(Section):
    """Low-rank adapters in the place of all weights: their rank, and how strongly they count."""

    rank: Count = 16
    alpha: Positive = 16.0


def _decisive(section: BaseModel) -> dict[str, Any]:
    written = section.model_dump(mode="json")
    found: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if WITHOUT_EFFECT in field.metadata or (value is None and field.default is None):
            continue
        found[name] = _nested(value, written[name])
    return found


def _nested(value: Any, written: Any) -> Any:
    if isinstance(value, Section):
        return value.decisive()
    if isinstance(value, tuple | list):
        return [_nested(each, told) for each, told in zip(value, written, strict=True)]
    if isinstance(value, dict):
        return {key: _nested(value[key], told) for key, told in zip(value, written.values(), strict=True)}
    return written
