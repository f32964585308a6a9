"""The pipeline: every step, what it reads, and what decides its result. It stands here and nowhere else.

From this the pipeline that Kubeflow runs is made, and `flowmap plan`, and the picture in the documentation.
"""

from __future__ import annotations

from collections.abc import Iterator

from flowmap.artifacts.store import ObjectStore
from flowmap.data.external import external_digests
from flowmap.modality import facet_modules
from flowmap.registry import Registry
from flowmap.rewards.sources import function_digests, modules_of
from flowmap.settings import GrpoFinetuning, RunConfig, Section
from flowmap.settings.sections import Publication
from flowmap.steps.step import Input, Inputs, Step

PROMOTE, REJECT = "promote", "reject"  # the gate's verdicts
_TRAINING = ("torch", "deepspeed")


def _external(config: RunConfig, store: ObjectStore, inputs: Inputs) -> Inputs:
    """The user's own files."""
    return {name: Input(digest) for name, digest in external_digests(config.data_prep).items()}


def _functions(config: RunConfig, store: ObjectStore, inputs: Inputs) -> Inputs:
    """Rewards that are installed functions."""
    return {name: Input(digest) for name, digest in function_digests(config.grpo_finetuning.rewards).items()}


def _incumbent(config: RunConfig, store: ObjectStore, inputs: Inputs) -> Inputs:
    """The registered version that the candidate has to beat, when there is one."""
    registry = Registry(store, config.name)
    version = registry.incumbent(config.registry_push.alias, candidate=inputs["tuned"].digest)
    if version is None:
        return {}
    return {"incumbent": Input(version.manifest.digest, version.manifest, registry.files_prefix(version))}


def _publication(step: Step, config: RunConfig) -> Section:
    """Where it is published also has a name."""
    return Publication(name=config.name, **dict(config.registry_push))


def _rewards(section: GrpoFinetuning) -> tuple[str, ...]:
    return modules_of(section.rewards)


PIPELINE = (
    Step(
        "data_prep",
        "data",
        says="read, check, split",
        extra_inputs=_external,
        modules=lambda section: facet_modules("reading"),
        libraries=("numpy", "pandas", "pillow", "pyarrow", "scikit-learn"),
    ),
    Step(
        "base_training",
        "base",
        ("data_prep",),
        says="MeanFlow map, flow-matching baseline",
        modules=lambda section: facet_modules("sizes"),
        libraries=_TRAINING,
    ),
    Step(
        "reward_training",
        "reward",
        ("data_prep",),
        says="preference model",
        modules=lambda section: facet_modules("corruption"),
        libraries=("torch",),
    ),
    Step(
        "grpo_finetuning",
        "tuned",
        ("base_training", "reward_training"),
        says="Flow-Map GRPO through DeepSpeed",
        extra_inputs=_functions,
        modules=_rewards,
        libraries=_TRAINING,
    ),
    Step(
        "evaluation",
        "evaluated",
        ("data_prep", "base_training", "reward_training", "grpo_finetuning"),
        says="judge, figures, report",
        extra_inputs=_incumbent,
        modules=lambda section: facet_modules("judging", "pictures"),
        libraries=("torch", "numpy", "scipy", "matplotlib", "pillow"),
    ),
    Step(
        "registry_push",
        "published",
        ("grpo_finetuning", "evaluation"),
        function="promote",
        says="publish, move the alias",
        when=PROMOTE,
        reuse=False,
        section_of=_publication,
    ),
    Step(
        "registry_push",
        "rejected",
        ("grpo_finetuning", "evaluation"),
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
