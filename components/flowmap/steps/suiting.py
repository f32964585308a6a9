"""Whether what a run asks for is there and its data suit it: looked at when they are made, before hours are
spent."""

from __future__ import annotations

import importlib
import json
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from flowmap.artifacts.manifest import Manifest
from flowmap.artifacts.store import ObjectStore
from flowmap.artifacts.transfer import artifact_prefix
from flowmap.data.external import file_digest, local_path
from flowmap.data.facts import FACTS, DataFacts
from flowmap.data.naming import named
from flowmap.data.pretrained import inception_weights, pretrained_digest, pretrained_outline
from flowmap.errors import ConfigError, DataError
from flowmap.json_text import read_json
from flowmap.registry import Registry
from flowmap.rewards.conditions import problem_of
from flowmap.settings import (
    ANCHOR,
    AestheticSettings,
    AnyReward,
    Evaluation,
    Pretrained,
    PythonRulesSettings,
    RulesSettings,
    RunConfig,
)

# Of transformers, by the kind of reward; of what detects objects there are many.
_KINDS = {
    "clip": ("clip",),
    "pickscore": ("clip",),
    "hps": ("clip",),
    "aesthetic": ("clip",),
    "imagereward": ("blip",),
}
_LOOKING = "flowmap.text_to_image.looking"  # by name, as all of that room


def model_digests(rewards: Sequence[AnyReward]) -> dict[str, str]:
    """Of the models of others that rewards ask, by what each is for. Raises DataError where one is none."""
    models = {f"reward {each.label}": each for each in rewards if isinstance(each, Pretrained)}
    heads = {name: each.head for name, each in models.items() if isinstance(each, AestheticSettings)}
    return {name: pretrained_digest(each, name) for name, each in models.items()} | {
        f"{name} head": file_digest(head, f"{name} head") for name, head in heads.items()
    }


def features_digest(section: Evaluation) -> str | None:
    """Of the model that distances are measured in, where one is named. Raises DataError."""
    return None if section.features is None else pretrained_digest(section.features, "evaluation.features")


def checkpoint_will_do(config: RunConfig, scratch: Path) -> None:
    """Whether the checkpoint that base training takes over suits data and settings, as far as its files say
    without their weights. Raises ConfigError or DataError."""
    if config.base_training.checkpoint is not None:
        importlib.import_module(_LOOKING).look_at(config, scratch)


def all_models_will_do(config: RunConfig, scratch: Path) -> None:
    """The checkpoint, and each model that a reward or the evaluation asks.

    Raises ConfigError or DataError.
    """
    checkpoint_will_do(config, scratch)
    models_will_do(config, scratch)


def models_will_do(config: RunConfig, scratch: Path) -> None:
    """Whether the models that rewards and distances ask can be had, have weights that are not pickled, and
    are of the kind that is asked for, as their files say without their weights.

    Raises ConfigError or DataError.
    """
    rewards = (*config.grpo_finetuning.rewards, *(config.evaluation.rewards or ()))
    asked: dict[Pretrained, tuple[str, tuple[str, ...]]] = {
        each: (f"reward {each.label}", _KINDS.get(each.kind, ()))
        for each in rewards
        if isinstance(each, Pretrained)
    }
    features = config.evaluation.features
    if features is not None and not measures_fid(config.evaluation):
        asked[features] = ("evaluation.features", ("clip", "dinov2"))
    for number, (settings, (where, kinds)) in enumerate(asked.items()):
        folder = pretrained_outline(settings, where, scratch / f"model-{number}")
        if settings == features and inception_weights(folder) is not None:
            continue  # FID's own, in a store
        kind = _model_type(folder / "config.json")
        if kind is None or (kinds and kind not in kinds):
            raise ConfigError(
                f"{where}: {settings.source} is "
                + (f"a model of the kind {kind}" if kind else "no model of transformers")
                + f", and one of the kind {' or '.join(kinds) or 'that detects objects'} is asked for"
            )
        if not any(folder.rglob("*.safetensors")):
            raise DataError(
                f"{where}: {settings.source} holds no weights as safetensors; pickled ones, which run code "
                "when they are read, are not taken"
            )


def _model_type(config: Path) -> str | None:
    """What a model of transformers calls itself; None where that can't be read."""
    try:
        return str(read_json(config.read_bytes())["model_type"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def suits_the_run(config: RunConfig, store: ObjectStore, made: Manifest) -> None:
    """Whether a run can be followed to its end, as far as can be told once its data are there.

    Raises DataError or ConfigError: better now than after all training.
    """
    facts = DataFacts.model_validate_json(store.get(f"{artifact_prefix(made.digest)}/{FACTS}"))
    _demands_are_understood(config, facts)
    _fits_its_name(config, store, facts)
    _models_are_there(config)


def _demands_are_understood(config: RunConfig, facts: DataFacts) -> None:
    """By the reward that checks them, where there is one."""
    rewards = (*config.grpo_finetuning.rewards, *(config.evaluation.rewards or ()))
    known = facts.prompt_facts
    if known is None or not any(isinstance(each, RulesSettings | PythonRulesSettings) for each in rewards):
        return
    for index, prompt in enumerate(facts.prompts):
        if told := problem_of(known.demanded(index)):
            raise DataError(f"prompt {prompt!r}: {told}, for the reward rules to check it")


def _fits_its_name(config: RunConfig, store: ObjectStore, facts: DataFacts) -> None:
    """Data of other prompts or another shape make a model that can not be compared with those there are."""
    registry = Registry(store, config.name)
    aliases = registry.aliases()
    for alias in (config.registry_push.alias, ANCHOR):
        if alias not in aliases:
            continue
        version = registry.resolve(str(aliases[alias]))
        with tempfile.TemporaryDirectory() as folder:
            registry.download(version, Path(folder), ["model.json"])
            model = json.loads((Path(folder) / "model.json").read_text())
        there, here = set(model["prompts"]), set(facts.prompts)
        told = []
        if new := sorted(here - there):
            told.append(f"prompts that it does not know, {named(map(repr, new))}")
        if gone := sorted(there - here):
            told.append(f"none of its prompts {named(map(repr, gone))}")
        if tuple(model["shape"]) != facts.shape:
            told.append(f"the shape {facts.shape}, where it has {tuple(model['shape'])}")
        if told:
            raise DataError(
                f"the data have {'; '.join(told)}: a model of them can't be compared with "
                f"{config.name}@{alias}, version {version.version}; give the run another `name`"
            )


def measures_fid(section: Evaluation) -> bool:
    """Whether distances are told in FID's own features, where a folder on this machine says so."""
    features = section.features
    return features is not None and inception_weights(local_path(features.source)) is not None


def _models_are_there(config: RunConfig) -> None:
    """Those that rewards and distances ask for, which are read when their steps begin."""
    rewards = (*config.grpo_finetuning.rewards, *(config.evaluation.rewards or ()))
    model_digests(rewards)
    features_digest(config.evaluation)
    if measures_fid(config.evaluation) and not find_spec("torch_fidelity"):
        raise ConfigError("evaluation.features: FID wants torch-fidelity: pip install 'flowmap[fid]'")
