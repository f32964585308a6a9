"""The pipeline: every step, what it reads, and what decides its result. It stands here and nowhere else.

From this the pipeline that Kubeflow runs is made, and `flowmap plan`, and the picture in the documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from flowmap.artifacts.store import ObjectStore
from flowmap.artifacts.transfer import artifact_prefix
from flowmap.data.encoded import SHARDS
from flowmap.data.external import external_digests
from flowmap.data.pretrained import pretrained_digest
from flowmap.modality import facet_modules, modality_of
from flowmap.registry import Registry, anchor_of, terms_of, trial_of
from flowmap.rewards.sources import function_digests, modules_of
from flowmap.settings import (
    AnyReward,
    Pretrained,
    RunConfig,
    Section,
)
from flowmap.settings.sections import Publication
from flowmap.steps.step import Input, Inputs, Step
from flowmap.steps.suiting import (
    all_models_will_do,
    features_digest,
    measures_fid,
    model_digests,
    models_will_do,
    suits_the_run,
)

PROMOTE, REJECT = "promote", "reject"  # the gate's verdicts
_ENCODER = "flowmap.text_to_image.encoding"
_TRAINING = ("torch", "deepspeed")
TEXT_TO_IMAGE_MODULES = tuple(
    f"flowmap.text_to_image.{name}"
    for name in (
        "autoencoder_worker",
        "building",
        "checkpoints",
        "converting",
        "families",
        "family",
        "flux",
        "latents",
        "lora",
        "network",
        "sd3",
        "text",
        "text_worker",
        "transformer",
    )
)


def _external(config: RunConfig, store: ObjectStore, inputs: Inputs) -> Inputs:
    """The user's own files, and what encodes them."""
    found = external_digests(config.data_prep)
    if (captioned := config.data_prep.captioned) is not None:
        found["encoder"] = pretrained_digest(captioned.encoder, "data_prep.captioned.encoder")
    return {name: Input(digest) for name, digest in found.items()}


def _functions(config: RunConfig, store: ObjectStore, inputs: Inputs) -> Inputs:
    """Rewards that are trained on and are installed functions, or models of others."""
    return _from_outside(config.grpo_finetuning.rewards)


def _judging(config: RunConfig, store: ObjectStore, inputs: Inputs) -> Inputs:
    """What a candidate is held against, such rewards that are only evaluated, and what distances are
    measured in."""
    found = {**_rivals(config, store, inputs), **_from_outside(config.evaluation.rewards or ())}
    features = features_digest(config.evaluation)
    return found if features is None else found | {"features": Input(features)}


def _from_outside(rewards: Sequence[AnyReward]) -> Inputs:
    found = {**function_digests(rewards), **model_digests(rewards)}
    return {name: Input(digest) for name, digest in found.items()}


def _rivals(config: RunConfig, store: ObjectStore, inputs: Inputs) -> Inputs:
    """The version that the candidate has to beat, the one that its quality is held against, and which
    attempt at the gate it is."""
    registry, candidate = Registry(store, config.name), inputs["tuned"].digest
    versions = {
        "incumbent": registry.incumbent(config.registry_push.alias, candidate=candidate),
        "anchor": anchor_of(registry, inputs["base"].digest),
    }
    found = {
        name: Input(
            version.manifest.digest,
            version.manifest,
            registry.files_prefix(version),
            spare=artifact_prefix(version.candidate),
        )
        for name, version in versions.items()
        if version is not None
    }
    return found | {"trial": Input(str(trial_of(registry, candidate, terms_of(config.evaluation))))}


def _publication(step: Step, config: RunConfig) -> Section:
    """Where it is published also has a name."""
    return Publication(name=config.name, **dict(config.registry_push))


def _rewards(config: RunConfig) -> tuple[str, ...]:
    return modules_of(config.grpo_finetuning.rewards)


def _evaluated_rewards(config: RunConfig) -> tuple[str, ...]:
    """Those that samples are scored by: what GRPO was paid, and what is only evaluated."""
    return modules_of((*config.grpo_finetuning.rewards, *(config.evaluation.rewards or ())))


def _checkpoint(config: RunConfig, store: ObjectStore, inputs: Inputs) -> Inputs:
    """A model that is there already."""
    given, where = config.base_training.checkpoint, "base_training.checkpoint"
    return {} if given is None else {"checkpoint": Input(pretrained_digest(given, where))}


def _text_to_image(config: RunConfig) -> bool:
    return config.base_training.flux is not None or config.base_training.checkpoint is not None


def _networks(config: RunConfig) -> tuple[str, ...]:
    """What only models of text to image are made of."""
    return TEXT_TO_IMAGE_MODULES if _text_to_image(config) else ()


def _encoding(config: RunConfig) -> tuple[str, ...]:
    """What encodes pictures."""
    return () if config.data_prep.captioned is None else (_ENCODER, *TEXT_TO_IMAGE_MODULES)


def _encoding_libraries(config: RunConfig) -> tuple[str, ...]:
    """Those that it is made of."""
    return () if config.data_prep.captioned is None else ("torch", "diffusers", "transformers")


def _libraries(config: RunConfig) -> tuple[str, ...]:
    """Those that only they are made of, or only some rewards."""
    rewards = (*config.grpo_finetuning.rewards, *(config.evaluation.rewards or ()))
    if any(isinstance(each, Pretrained) for each in rewards):
        return ("diffusers", "transformers", "peft")
    return ("diffusers", "transformers", "peft") if _text_to_image(config) else ()


def _of_series(config: RunConfig) -> tuple[str, ...]:
    """What reads the built-in series, and forecasts what models are held against."""
    return ("statsmodels",) if config.data_prep.is_series else ()


def _typefaces(config: RunConfig) -> tuple[str, ...]:
    """What words are drawn in."""
    return ("matplotlib",) if config.data_prep.source == "words" else ()


def _measuring(config: RunConfig) -> tuple[str, ...]:
    """What FID's features are of."""
    return ("torch-fidelity",) if measures_fid(config.evaluation) else ()


def _all_of(*chosen: Callable[[RunConfig], tuple[str, ...]]) -> Callable[[RunConfig], tuple[str, ...]]:
    return lambda config: tuple(module for each in chosen for module in each(config))


def _facets(*facets: str) -> Callable[[RunConfig], tuple[str, ...]]:
    """What a step uses of the modality that the data are of."""
    return lambda config: facet_modules(modality_of(config.data_prep), *facets)


PIPELINE = (
    Step(
        "data_prep",
        "data",
        says="read, check, split",
        extra_inputs=_external,
        look=all_models_will_do,
        check=suits_the_run,
        modules=_all_of(_facets("reading"), _encoding),
        libraries=("numpy", "pandas", "pillow", "pyarrow", "scikit-learn"),
        more_libraries=_all_of(_of_series, _encoding_libraries, _typefaces),
    ),
    Step(
        "base_training",
        "base",
        ("data_prep",),
        says="MeanFlow map, flow-matching baseline",
        look=models_will_do,
        extra_inputs=_checkpoint,
        modules=_all_of(_facets("sizes"), _networks),
        libraries=_TRAINING,
        more_libraries=_libraries,
    ),
    Step(
        "reward_training",
        "reward",
        ("data_prep",),
        without=(f"{SHARDS}/",),
        says="preference model",
        modules=_facets("corruption"),
        libraries=("torch",),
    ),
    Step(
        "grpo_finetuning",
        "tuned",
        ("base_training", "reward_training"),
        says="Flow-Map GRPO through DeepSpeed",
        look=models_will_do,
        extra_inputs=_functions,
        modules=_all_of(_rewards, _networks),
        libraries=_TRAINING,
        more_libraries=_libraries,
    ),
    Step(
        "evaluation",
        "evaluation",
        ("data_prep", "base_training", "reward_training", "grpo_finetuning"),
        without=(f"{SHARDS}/",),
        says="judge, figures, report",
        extra_inputs=_judging,
        modules=_all_of(_facets("judging", "pictures"), _evaluated_rewards, _networks),
        more_libraries=_all_of(_libraries, _of_series, _measuring),
        libraries=("torch", "numpy", "scipy", "matplotlib", "pillow"),
    ),
    Step(
        "registry_push",
        "published",
        ("base_training", "grpo_finetuning", "evaluation"),
        function="promote",
        says="publish, move the alias",
        when=PROMOTE,
        reuse=False,
        section_of=_publication,
    ),
    Step(
        "registry_push",
        "rejected",
        ("base_training", "grpo_finetuning", "evaluation"),
        function="reject",
        task="record_rejection",
        says="record the rejection",
        when=REJECT,
        reuse=False,
        section_of=_publication,
    ),
)


def step_of(name: str, function: str = "run") -> Step:
    """The step of that name and function."""
    return next(step for step in PIPELINE if (step.name, step.function) == (name, function))


def sources_of(step: Step) -> Iterator[Step]:
    """The steps that it reads from, in order."""
    return (source for name in step.reads for source in PIPELINE if source.name == name)
