"""The sections of a configuration, one for each step, named after it.

A section holds what its step depends on and nothing else: it decides the step's digest, so a changed value
runs that step and what follows it again, and no other. Sections hold values and the checks on them; what
follows from a value is computed where it is used, so an edit of a message here trains nothing again.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from flowmap.settings.rewards import AnyReward, check_names
from flowmap.settings.section import (
    WITHOUT_EFFECT,
    Checkpoint,
    Count,
    Decay,
    Fraction,
    Lora,
    Name,
    NonNegative,
    Positive,
    Pretrained,
    Section,
    Seed,
)

ANCHOR = "anchor"  # the alias of what every candidate's quality is held against
REJECTED = "rejected"  # how people ask for the candidate that was rejected last
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
            and it is measured as the base, and with more steps as the many-step baseline. Or one that is
            converted, or trained from scratch, as it says itself.
        lora: of a checkpoint that is converted, train adapters and the embedding of t - r in the place of
            all weights: with `precision: bfloat16` what is held is little more than the model. They take a
            larger learning_rate.
        gradient_checkpointing: compute the activations of a text-to-image transformer's blocks again on the
            way back, in the place of keeping them.
        times: mean and spread of the normal distribution whose sigmoid times are drawn from; None is [-0.4,
            1].
        equal_times: the share of pairs of times with r = t, where the map learns its velocity.
        start_times: the share of pairs of times with t = 1, where sampling starts: from no others the first
            step learns.
        processes: how many train each network together, on one machine, each a share of the batch; None is
            one.
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
    lora: Lora | None = None
    gradient_checkpointing: bool | None = None
    ema: Decay = 0.995
    max_speed_ratio: Annotated[float, Field(gt=1)] = 2.0
    max_gap: Positive = 0.5
    processes: Count | None = None
    seed: Seed = 3

    @model_validator(mode="after")
    def _one_network(self) -> Self:
        named = [name for name in ("patch", "flux", "checkpoint") if getattr(self, name) is not None]
        if len(named) > 1:
            raise ValueError(f"{' and '.join(named)} name different networks: set one of them")
        return self

    @model_validator(mode="after")
    def _converts(self) -> Self:
        learns = self.checkpoint if self.checkpoint is not None and self.checkpoint.learns else None
        if self.lora is not None and (learns is None or not learns.convert):
            raise ValueError(
                "lora is for a checkpoint that is converted: set checkpoint.convert, or leave it out"
            )
        if self.gradient_checkpointing and learns is None and self.flux is None:
            raise ValueError("gradient_checkpointing is for transformers of text to image")
        if learns is not None and self.lora is None and learns.precision != "float32":
            way = "convert" if learns.convert else "train"
            adapters = "train adapters (lora), or " if learns.convert else ""
            raise ValueError(
                f"checkpoint.{way} trains all weights, which {learns.precision} is too coarse for: "
                f"{adapters}take float32"
            )
        return self

    @model_validator(mode="after")
    def _batches_divide(self) -> Self:
        if self.batch_size is not None and self.batch_size % (self.processes or 1):
            raise ValueError(
                f"batch_size ({self.batch_size}) must be a multiple of processes ({self.processes})"
            )
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
        most_prompts: where prompts come without data, how many of them models are asked for: as many of
            those that GRPO drew as of those that were kept from it, where there are any; left open it is
            600.
        false_promotions: the chance that of all candidates that a name ever has one passes without a gain.
            The first may take half of it, the second a sixth, the k-th 1 / (k (k + 1)).
        kid_tolerance, frechet_tolerance: how much the kernel distance to real data may rise above the
            anchor's, and by what share the Frechet distance; the upper ends of their 95 % intervals count.
        recall_tolerance, coverage_tolerance, diversity_tolerance: how much of the real data within reach of
            the samples, and with samples within reach, may be lost, and by what share the spread of samples
            within a prompt may fall; the lower ends of their 95 % intervals count.
        copies_tolerance: how much the share of samples that lie as near to training data as a copy may rise.
        rewards: that nothing is trained on, for the report and the gate: what a candidate was not paid for.
            Where prompts come without data, the first of them is the judge.
        reward_tolerance: by how many standard deviations of the anchor's samples each of them may fall; the
            lower ends of their 95 % intervals count.
        fulfilled: where prompts come without data, the judge's reward from which a sample counts as what was
            asked for, such as 1 of `ocr`; left open it is what the baseline's own samples of the prompt get.
        features: where prompts come without data, a CLIP or DINOv2 model of the library transformers, or a
            folder with FID's Inception as torch-fidelity keeps it, in whose features distances are measured;
            left open they are of the pictures themselves, made small.
        judge_shifts: images that the judge learns from are moved by so many pixels at most, each way: of few
            it learns to read more rightly. Not for prompts that say where something is.
        train_on: for the report, train the base on for as much work as GRPO took, beside everything else: a
            core for as long as GRPO took.
    """

    samples_per_prompt: Annotated[int, Field(ge=4)] | None = None
    most_prompts: Annotated[int, Field(ge=2)] | None = None
    evaluations: tuple[Count, ...] = Field(default=(1, 2, 4, 8), strict=False)
    baseline_evaluations: tuple[Count, ...] = Field(default=(1, 2, 4, 10, 50), strict=False)
    judge_updates: Count = 800
    judge_shifts: Annotated[int, Field(ge=1, le=4)] | None = None
    resamples: Annotated[int, Field(ge=50)] = 200
    false_promotions: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    kid_tolerance: NonNegative = 0.01
    frechet_tolerance: NonNegative = 0.25
    recall_tolerance: NonNegative = 0.05
    coverage_tolerance: NonNegative = 0.10
    diversity_tolerance: NonNegative = 0.10
    copies_tolerance: NonNegative = 0.05
    rewards: Annotated[tuple[AnyReward, ...], Field(strict=False)] | None = None
    reward_tolerance: NonNegative = 0.1
    fulfilled: float | None = None
    features: Pretrained | None = None
    train_on: bool = True

    @property
    def most_steps(self) -> int:
        """Of the baseline: how many it takes where it takes its time."""
        return max(self.baseline_evaluations)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        check_names(self.rewards or ())
        return self


class RegistryPush(Section):
    """What becomes of a candidate that passes the gate.

    It is published, and `alias`, whose version it had to beat, follows it; with `publish` false it is only
    judged.

    Attributes:
        require_signature: end the run where there is no key to sign with, before anything is published.
    """

    alias: Name = "production"
    publish: bool = True
    require_signature: Annotated[bool, WITHOUT_EFFECT] = False

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
