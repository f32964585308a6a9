"""The configuration of a run, and how it is read.

config = load_config(Path("examples/digits.yaml"), ["grpo_finetuning.rollouts=20"])
RunConfig.model_validate_json(config.to_json()) == config
"""

from __future__ import annotations

import base64
import json
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self, get_args, get_origin

from pydantic import BaseModel, ValidationError, model_validator

from flowmap.errors import ConfigError
from flowmap.settings.data import DataPrep
from flowmap.settings.expectations_file import read_expectations_files
from flowmap.settings.grpo import GrpoFinetuning
from flowmap.settings.messages import explain
from flowmap.settings.rewards import OF_DATA, AnyReward, FunctionSettings
from flowmap.settings.section import Name, Section
from flowmap.settings.sections import (
    BaseTraining,
    Evaluation,
    RegistryPush,
    RewardTraining,
)
from flowmap.settings.yaml_text import YamlTextError, read_yaml

_MOST_PIXELS = 256  # on a side


class RunConfig(Section):
    """Everything a run is decided by. Its sections are named after the steps.

    Attributes:
        name: of the model, in the registry.
        reuse_across_versions: reuse results that another version of torch, numpy or DeepSpeed computed;
            otherwise an upgrade runs again what those compute.
    """

    name: Name
    data_prep: DataPrep = DataPrep()
    base_training: BaseTraining = BaseTraining()
    reward_training: RewardTraining = RewardTraining()
    grpo_finetuning: GrpoFinetuning = GrpoFinetuning()
    evaluation: Evaluation = Evaluation()
    registry_push: RegistryPush = RegistryPush()
    reuse_across_versions: bool = False

    @model_validator(mode="after")
    def _travels(self) -> Self:
        """Kubeflow expands these in a parameter, or refuses them."""
        found = [mark for mark in ("{{", "$(") if mark in self.to_json()]
        if found:
            raise ValueError(f"a value holds {' and '.join(found)}, which Kubeflow would expand; rename it")
        return self

    @model_validator(mode="after")
    def _has_the_classifier(self) -> Self:
        rewards = (*self.grpo_finetuning.rewards, *(self.evaluation.rewards or ()))
        asked = any(reward.kind == "classifier" for reward in rewards)
        if asked and self.reward_training.classifier_updates is None:
            raise ValueError(
                "a reward is the classifier's: say how long with reward_training.classifier_updates"
            )
        return self

    @model_validator(mode="after")
    def _forecasts_are_rewarded_where_it_is_known_what_came(self) -> Self:
        def named(rewards: Sequence[AnyReward]) -> str:
            return " and ".join(each.label for each in rewards if each.kind in ("energy", "hit"))

        source = self.data_prep.source
        if (asked := named(self.grpo_finetuning.rewards)) and not self.data_prep.is_series:
            raise ValueError(
                f"the reward {asked} is of forecasts, and data_prep.source {source!r} is no series"
            )
        if asked := named(self.evaluation.rewards or ()):
            raise ValueError(
                f"evaluation.rewards: {asked} knows what came at the occasions that GRPO draws alone; of "
                "those that are judged evaluation tells the energy score and the hits by itself"
            )
        return self

    @model_validator(mode="after")
    def _the_judge_of_images_moves_them(self) -> Self:
        data = self.data_prep
        has_none = data.is_series or data.source == "points" or data.prompts is not None
        if self.evaluation.judge_shifts is not None and has_none:
            raise ValueError(
                "evaluation.judge_shifts moves the images that a judge learns from, and data_prep."
                + (
                    f"prompts {data.prompts!r} come alone"
                    if data.prompts
                    else f"source {data.source!r} has none"
                )
            )
        return self

    @model_validator(mode="after")
    def _networks_over_pixels_stay_small(self) -> Self:
        largest = max(self.data_prep.resize or (0,))
        if largest > _MOST_PIXELS and not self._has_latents:
            raise ValueError(
                f"data_prep.resize is {list(self.data_prep.resize or ())}: a network over the pixels takes "
                f"at most {_MOST_PIXELS} on a side; larger pictures want latents, base_training.checkpoint "
                "or flux"
            )
        return self

    @property
    def _has_latents(self) -> bool:
        return self.base_training.flux is not None or self.base_training.checkpoint is not None

    @model_validator(mode="after")
    def _transformers_compute_again(self) -> Self:
        if self.grpo_finetuning.gradient_checkpointing and not self._has_latents:
            raise ValueError(
                "grpo_finetuning.gradient_checkpointing is for text-to-image transformers: set "
                "base_training.checkpoint or flux, or leave it out; activations of this network are small"
            )
        return self

    @model_validator(mode="after")
    def _all_weights_are_tuned_in_full_precision(self) -> Self:
        checkpoint = self.base_training.checkpoint
        if (
            checkpoint is not None
            and checkpoint.precision != "float32"
            and self.grpo_finetuning.lora is None
        ):
            raise ValueError(
                f"grpo_finetuning tunes all weights, which {checkpoint.precision} is too coarse for: most "
                "updates would round away; tune adapters (grpo_finetuning.lora), or take "
                "base_training.checkpoint.precision: float32"
            )
        return self

    @model_validator(mode="after")
    def _prompts_without_data_are_for_rewards_that_need_none(self) -> Self:
        prompts, evaluation = self.data_prep.prompts, self.evaluation
        if prompts is None:
            judging = ("fulfilled", "features", "most_prompts")
            if asked := [name for name in judging if getattr(evaluation, name) is not None]:
                raise ValueError(
                    f"evaluation.{' and '.join(asked)}: set where data_prep.prompts come without data; with "
                    "data a judge is trained"
                )
            return self
        if self.base_training.checkpoint is None:
            raise ValueError(
                f"data_prep.prompts {prompts!r} come without data, and nothing can be trained from nothing: "
                "set base_training.checkpoint"
            )
        checkpoint, captioned = self.base_training.checkpoint, self.data_prep.captioned is not None
        if checkpoint.learns and not captioned:
            way = "convert" if checkpoint.convert else "train"
            raise ValueError(
                f"data_prep.prompts {prompts!r} come without data, and base_training.checkpoint.{way} "
                "learns from data: set data_prep.captioned, or leave it out"
            )
        if captioned and not checkpoint.learns:
            raise ValueError(
                "data_prep.captioned: a checkpoint is converted or trained on such pictures, and nothing "
                "else: set base_training.checkpoint.convert or train, or leave them out"
            )
        if not evaluation.rewards:
            raise ValueError(
                f"data_prep.prompts {prompts!r} come without data for a judge: set evaluation.rewards, of "
                "which the first is the judge"
            )
        for where, rewards in (
            ("grpo_finetuning", self.grpo_finetuning.rewards),
            ("evaluation", evaluation.rewards),
        ):
            if asked := [each.label for each in rewards if each.kind in OF_DATA]:
                raise ValueError(
                    f"{where}.rewards: {' and '.join(asked)} asks for data, and data_prep.prompts "
                    f"{prompts!r} come without: take clip, ocr, vlm, http or python"
                )
        return self

    def to_json(self) -> str:
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a YAML configuration and apply `section.key=value` overrides.

    Raises:
        ConfigError: the file can't be read, or a key or value is wrong; the message has one line for each.
    """
    try:
        raw = read_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file; `flowmap init digits -o digits.yaml` writes one to start from"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read: {error}") from None
    except YamlTextError as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected `name:` and sections, got {type(raw).__name__} {raw!r}")
    for override in overrides:
        _apply(raw, override)
    read_expectations_files(raw, path.parent)
    try:
        config = RunConfig.model_validate(raw)
        with_sources = {
            name: getattr(config, name).model_copy(
                update={"rewards": _with_sources(getattr(config, name).rewards, path.parent)}
            )
            for name in ("grpo_finetuning", "evaluation")
        }
        return config.model_copy(update=with_sources)
    except ValidationError as error:
        told = explain(error, RunConfig, "configuration")
        raise ConfigError(f"{path} is not a valid configuration:{told}") from None


def _with_sources(rewards: Sequence[AnyReward] | None, folder: Path) -> tuple[AnyReward, ...] | None:
    """With the text of each one's file that lies beside the configuration: it travels with the run."""

    def with_source(reward: AnyReward) -> AnyReward:
        file = folder / f"{reward.module}.py" if isinstance(reward, FunctionSettings) else None
        if file is None or not file.is_file():
            return reward
        return reward.model_copy(update={"source": base64.b64encode(file.read_bytes()).decode()})

    return None if rewards is None else tuple(map(with_source, rewards))


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
    if _is_text(key.split(".")):
        here[last] = None if text == "null" else text
        return
    try:
        here[last] = read_yaml(text)
    except YamlTextError:
        raise ConfigError(f"--set {override}: {text!r} is not a YAML value; quote it") from None


def _is_text(path: Sequence[str]) -> bool:
    """Whether a setting is text, such as a path: that is taken as it is written, with blanks and `#`."""
    kind: Any = RunConfig
    for name in path:
        field = (
            kind.model_fields.get(name) if isinstance(kind, type) and issubclass(kind, BaseModel) else None
        )
        if field is None:
            return False
        kind = field.annotation
        if isinstance(kind, types.UnionType):
            kind = next(each for each in get_args(kind) if each is not types.NoneType)
        kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    return kind is str
