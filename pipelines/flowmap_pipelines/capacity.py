"""What a configuration takes, before it is run, and whether a profile gives it that.

fit(config, profile, planned, store).problems        # empty when it can work
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from flowmap.artifacts.manifest import MANIFEST_NAME, parse_manifest
from flowmap.artifacts.store import ObjectStore, read_there
from flowmap.artifacts.transfer import artifact_prefix
from flowmap.base_training import sizes
from flowmap.data.external import local_path
from flowmap.data.facts import FACTS, DataFacts
from flowmap.data.pretrained import weights_bytes
from flowmap.data.remote import is_remote
from flowmap.errors import FlowmapError
from flowmap.kubernetes.quantities import amount
from flowmap.models import AUTOENCODER, ModelFacts, TextToImageFacts
from flowmap.settings import BaseTraining, Pretrained, RunConfig
from flowmap_pipelines.gpu_memory import Beside, base_parts, grpo_parts
from flowmap_pipelines.planning import PlannedStep, price
from flowmap_pipelines.profile import Profile
from flowmap_pipelines.workload import Workload, workload

_TEXT_ENCODERS, _NOTHING = "text_encoder", Beside()
_LOOKING = "flowmap.text_to_image.looking"  # by name: it loads torch, diffusers and transformers
_READING = "flowmap.data_prep.prompts_alone"  # by name: it loads numpy and pandas
_MANY = 20_000  # prompts
_LEAST_HOURS = 0.05  # that are worth telling
_UNKNOWN = "not known before data_prep has run"


@dataclass(frozen=True)
class Capacity:
    """What a run would take: bytes on each GPU, operations and hours, money, and what can't work.

    Attributes:
        gpu_bytes: of GRPO's; None where nothing is known of the model yet, and `unknown` says why.
        gpu_parts, base_parts: of GRPO's and base training's, by part; empty where nothing is trained.
        uncounted: rewards whose models' sizes are not known.
        work: None but for text-to-image models; nothing else takes hours.
    """

    gpu_bytes: int | None
    price: float | None
    problems: tuple[str, ...]
    gpu_parts: Mapping[str, int] = field(default_factory=dict)
    base_parts: Mapping[str, int] = field(default_factory=dict)
    uncounted: tuple[str, ...] = ()
    work: Workload | None = None
    unknown: str = _UNKNOWN
    with_profile: bool = True

    def to_json(self) -> dict[str, Any]:
        return {
            "gpu_bytes": self.gpu_bytes,
            "gpu_parts": dict(self.gpu_parts),
            "base_gpu_parts": dict(self.base_parts),
            "uncounted": list(self.uncounted),
            "flops": {} if self.work is None else dict(self.work.flops),
            "hours": {} if self.work is None else self.work.hours,
            "price": self.price,
            "problems": list(self.problems),
        }

    def to_text(self) -> str:
        lines = [
            *_memory_text("base training's", self.base_parts),
            *_memory_text("GRPO's", self.gpu_parts),
        ]
        if not self.gpu_parts:
            lines.append(f"GRPO's memory on each GPU, about: {self.unknown}")
        if self.uncounted:
            lines.append(f"  not counted, their size is not known here: {', '.join(self.uncounted)}")
        if self.work is not None and max(self.work.hours.values()) >= _LEAST_HOURS:
            lines.append("hours, about, at 40 % of an H100's peak on each GPU, without the rewards' own:")
            lines += [
                f"  {name:<16} {hours:8.1f}   {self.work.flops[name]:.1e} operations"
                for name, hours in self.work.hours.items()
            ]
        if self.with_profile:
            price = "not known: price_per_hour in the profile says what a step's hour costs"
            lines.append(f"price, about: {price if self.price is None else f'{self.price:.2f}'}")
        return "\n".join([*lines, *(f"can't work: {problem}" for problem in self.problems)])


def _memory_text(whose: str, parts: Mapping[str, int]) -> list[str]:
    if not parts:
        return []
    told = ", ".join(f"{name} {amount / 2**30:.2f}" for name, amount in parts.items())
    return [
        f"{whose} memory on each GPU, about: {sum(parts.values()) / 2**30:.1f} GiB",
        f"  of which {told}",
    ]


def is_large(config: RunConfig) -> bool:
    """Whether it trains a transformer of text to image, so that memory and hours are worth telling."""
    return config.base_training.checkpoint is not None or config.base_training.flux is not None


def fit(
    config: RunConfig, profile: Profile | None, planned: list[PlannedStep], store: ObjectStore
) -> Capacity:
    """Count what a planned run takes, and hold it against a profile, where there is one."""
    data = data_facts(store, planned[0].output)
    base = next((step.output for step in planned if step.name == "base_training"), None)
    facts: ModelFacts | None = None if data is None else model_facts(config, data)
    beside, unknown = _NOTHING, _UNKNOWN
    if base is not None:
        facts, beside = _made(store, base)
    elif config.base_training.checkpoint is not None:
        facts, beside, unknown = _outlined(config)
    rewards, uncounted = _rewards_bytes(config)
    parts = {} if facts is None else grpo_parts(config, facts, beside, rewards)
    needed = sum(parts.values()) or None
    found = Capacity(
        needed,
        None if profile is None else price(planned, profile),
        () if profile is None else tuple(problems_of(config, profile, needed)),
        parts,
        uncounted=uncounted,
        unknown=unknown,
        with_profile=profile is not None,
    )
    if not isinstance(facts, TextToImageFacts):
        return found
    base_memory = base_parts(config, facts, beside) if _trains_a_base(config.base_training) else {}
    work = workload(config, facts, _num_prompts(config, data))
    return replace(found, base_parts=base_memory, work=work)


def _outlined(config: RunConfig) -> tuple[ModelFacts | None, Beside, str]:
    """What a checkpoint says of itself: the model that is to be, the bytes of its autoencoder, and where
    nobody can say, why."""
    checkpoint = config.base_training.checkpoint
    assert checkpoint is not None
    try:
        looking = importlib.import_module(_LOOKING)
    except ModuleNotFoundError as error:
        return None, _NOTHING, f"not known without {error.name}, which is not installed here"
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folder = looking.pretrained_outline(checkpoint, looking.WHERE, Path(scratch), looking.FOLDERS)
            facts = looking.outlined(checkpoint, folder, config.data_prep)
            if facts is not None and checkpoint.learns:
                facts = facts.model_copy(update={"two_times": True, "guidance": checkpoint.guidance})
            return facts, Beside(*looking.parts_bytes(folder, checkpoint.precision)), _UNKNOWN
    except FlowmapError as error:
        return None, _NOTHING, f"not known: {error}"


def _rewards_bytes(config: RunConfig) -> tuple[int, tuple[str, ...]]:
    """Of the models that GRPO's rewards are, which each process holds; and those of unknown size."""
    models = [each for each in config.grpo_finetuning.rewards if isinstance(each, Pretrained)]
    sizes_known = {each.label: weights_bytes(each) for each in models}
    unknown = tuple(label for label, size in sizes_known.items() if size is None)
    return sum(size or 0 for size in sizes_known.values()), unknown


def _num_prompts(config: RunConfig, data: DataFacts | None) -> int:
    """Those of the data, or of a file of prompts that lies here; else more than are evaluated."""
    if data is not None:
        return len(data.prompts)
    prompts = config.data_prep.prompts
    if prompts is None or is_remote(prompts):
        return _MANY
    try:
        read_prompts = importlib.import_module(_READING).read_prompts
    except ModuleNotFoundError:  # where runs are only submitted
        return _MANY
    found, _ = read_prompts(local_path(prompts), config.data_prep.prompt_column)
    return len(found)


def _trains_a_base(section: BaseTraining) -> bool:
    return section.checkpoint is None or section.checkpoint.learns


def data_facts(store: ObjectStore, data: str | None) -> DataFacts | None:
    """What the artifact of data_prep says; None as long as there is none."""
    if data is None:
        return None
    return DataFacts.model_validate_json(read_there(store, f"{artifact_prefix(data)}/{FACTS}"))


def model_facts(config: RunConfig, data: DataFacts) -> ModelFacts | None:
    """The model that base training would make of the data; None where it takes one over."""
    if config.base_training.checkpoint is not None:
        return None
    section = sizes.with_sizes(config.base_training, data.modality, data.shape, data.splits["base"])
    return sizes.model_facts(section, data)


def _made(store: ObjectStore, base: str) -> tuple[ModelFacts, Beside]:
    """The model of a base that is there, and what lies beside it."""
    prefix = artifact_prefix(base)
    facts: TypeAdapter[ModelFacts] = TypeAdapter(ModelFacts)
    manifest = parse_manifest(read_there(store, f"{prefix}/{MANIFEST_NAME}"), where=prefix)
    weights = [(entry.path.partition("/")[0], entry.size) for entry in manifest.files]
    autoencoder, texts = (
        sum(size for folder, size in weights if folder.startswith(begin))
        for begin in (AUTOENCODER, _TEXT_ENCODERS)
    )
    return facts.validate_json(read_there(store, f"{prefix}/model.json")), Beside(autoencoder, texts)


def problems_of(config: RunConfig, profile: Profile, needed: int | None) -> Iterator[str]:
    """Each thing that can't work, with what to change; `needed`: GRPO's bytes on each GPU, if known."""
    base, beside = profile.step("base_training"), config.base_training.processes
    if base.gpu is not None and beside is not None and beside > base.gpu.count:
        yield (
            f"base_training.processes is {beside}, but the profile gives it {base.gpu.count} x "
            f"{base.gpu.type}: lower it, or raise gpu.count"
        )
    step, processes = profile.step("grpo_finetuning"), config.grpo_finetuning.processes
    job = step.trainjob
    nodes, gpu = (1, step.gpu) if job is None else (job.nodes, job.gpu)
    if processes % nodes:
        yield (
            f"grpo_finetuning.processes is {processes}, which the profile's {nodes} nodes can't share evenly"
        )
    if gpu is None:
        return
    if processes > nodes * gpu.count:
        yield (
            f"grpo_finetuning.processes is {processes}, but the profile gives it {nodes * gpu.count} x "
            f"{gpu.type}: lower it, or raise gpu.count or trainjob.nodes"
        )
    if gpu.memory is not None and needed is not None and needed > amount(gpu.memory):
        yield (
            f"grpo_finetuning needs about {needed / 2**30:.1f} GiB on each GPU, which has {gpu.memory}: "
            "lower grpo_finetuning.groups or group_size, set micro_batch, or share them among more "
            "processes"
        )
