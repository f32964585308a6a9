"""The configuration of a run, and how it is read.

config = load_config(Path("examples/digits.yaml"), ["grpo_finetuning.rollouts=20"])
RunConfig.model_validate_json(config.to_json()) == config
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import ValidationError, model_validator

from flowmap.errors import ConfigError
from flowmap.settings.messages import explain
from flowmap.settings.rewards import AnyReward, PythonSettings
from flowmap.settings.section import Name, Section
from flowmap.settings.sections import (
    BaseTraining,
    DataPrep,
    Evaluation,
    GrpoFinetuning,
    RegistryPush,
    RewardTraining,
)


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
        asked = any(reward.kind == "classifier" for reward in self.grpo_finetuning.rewards)
        if asked and self.reward_training.classifier_updates is None:
            raise ValueError(
                "a reward is the classifier's: say how long with reward_training.classifier_updates"
            )
        return self

    def to_json(self) -> str:
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads `1e-4` as a string; everyone who writes it means the number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+[eE][-+]?\d+$"), list("-+0123456789")
)


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a YAML configuration and apply `section.key=value` overrides.

    Raises:
        ConfigError: the file can't be read, or a key or value is wrong; the message has one line for each.
    """
    try:
        raw = yaml.load(path.read_text(), _Loader)
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file; `flowmap init digits -o digits.yaml` writes one to start from"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected `name:` and sections, got {type(raw).__name__} {raw!r}")
    for override in overrides:
        _apply(raw, override)
    try:
        config = RunConfig.model_validate(raw)
        return config.model_copy(
            update={"grpo_finetuning": _with_sources(config.grpo_finetuning, path.parent)}
        )
    except ValidationError as error:
        told = explain(error, RunConfig, "configuration")
        raise ConfigError(f"{path} is not a valid configuration:{told}") from None


def _with_sources(section: GrpoFinetuning, folder: Path) -> GrpoFinetuning:
    """With the text of each reward's file that lies beside the configuration, so that it travels with the
    run."""

    def with_source(reward: AnyReward) -> AnyReward:
        file = folder / f"{reward.module}.py" if isinstance(reward, PythonSettings) else None
        if file is None or not file.is_file():
            return reward
        return reward.model_copy(update={"source": base64.b64encode(file.read_bytes()).decode()})

    return section.model_copy(update={"rewards": tuple(map(with_source, section.rewards))})


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
