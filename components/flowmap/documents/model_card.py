"""A version's model card, as Hugging Face's hub reads them, made from what is on record and nothing else.

    text = model_card(store, version)           # Markdown with metadata in front, for a README.md

Its picture is `samples.png` beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import flowmap
from flowmap.artifacts.store import ObjectStore, read_there
from flowmap.artifacts.transfer import artifact_prefix
from flowmap.audit.graph import Graph, Node, trace
from flowmap.data.facts import FACTS, DataFacts
from flowmap.lineage.statement import is_statement
from flowmap.registry import Registry, Version
from flowmap.registry.evaluation_result import Evaluated, read_evaluated
from flowmap.registry.retiring import retirement_of
from flowmap.settings.yaml_text import write_yaml

_TASKS = {"images": "unconditional-image-generation", "series": "time-series-forecasting"}
_NAMES = {
    "judge_accuracy": "judge accuracy",
    "fd_judge": "Frechet distance",
    "kid_judge": "KID",
    "recall": "recall",
    "diversity": "diversity",
}
_MOST_PROMPTS = 40


@dataclass(frozen=True)
class _Known:
    """What the card is made from."""

    store: ObjectStore
    version: Version
    graph: Graph
    evaluated: Evaluated
    data: DataFacts
    as_published: bool

    def made(self, step: str) -> Node | None:
        """What the step came to beneath the version."""
        return next((node for node in self.graph.nodes.values() if node.kind == step), None)

    @property
    def config(self) -> Mapping[str, Any]:
        record = self.graph.nodes[self.version.candidate].made_by
        return (record.config if record is not None else None) or {}


def model_card(store: ObjectStore, version: Version, *, as_published: bool = False) -> str:
    """Markdown.

    Args: as_published: without what comes later: aliases, signatures, retirement.

    Raises IntegrityError where what it is made from is not in the store."""
    graph = trace(store, version)
    data = next(node for node in graph.nodes.values() if node.kind == "data_prep")
    facts = DataFacts.model_validate_json(read_there(store, f"{artifact_prefix(data.digest)}/{FACTS}"))
    known = _Known(store, version, graph, read_evaluated(store, version.evaluation), facts, as_published)
    sections = (_head, _use, _figures, _training, _data, _limits, _evidence)
    parts = ["\n".join(section(known)) for section in sections]
    return f"---\n{write_yaml(_metadata(known))}---\n\n" + "\n\n".join(part for part in parts if part) + "\n"


def _metadata(known: _Known) -> dict[str, Any]:
    version, modality = known.version, known.data.modality
    metrics = [
        {"type": name, "name": told, "value": round(version.figures[name], 5)}
        for name, told in _NAMES.items()
        if name in version.figures
    ]
    data = known.made("data_prep")
    assert data is not None
    task = {"type": _task(known), "name": modality}
    dataset = {
        "type": data.digest,
        "name": f"held-out {modality} of {known.config.get('name', version.name)}",
    }
    told: dict[str, Any] = {
        "library_name": "flowmap",
        "pipeline_tag": _task(known),
        "tags": ["flow-map", "few-step", *(["grpo"] if version.role == "tuned" else [])],
        "model-index": [
            {
                "name": f"{version.name}@{version.version}",
                "results": [{"task": task, "dataset": dataset, "metrics": metrics}],
            }
        ],
    }
    checkpoint = known.config.get("base_training", {}).get("checkpoint") or {}
    if checkpoint.get("revision") and not checkpoint.get("train"):
        told["base_model"] = checkpoint["source"]
    return told


def _task(known: _Known) -> str:
    base = known.config.get("base_training", {})
    is_told_by_text = base.get("flux") or base.get("checkpoint")
    return "text-to-image" if is_told_by_text else _TASKS.get(known.data.modality, "other")


def _head(known: _Known) -> Iterator[str]:
    version, grid = known.version, known.evaluated.metrics["trained_grid"]
    called, num = f"{version.name}@{version.version}", len(grid) - 1
    yield f"# {called}"
    yield ""
    how = (
        "trained with Flow-Map GRPO (arXiv 2607.00535) against rewards, from a flow map"
        if version.role == "tuned"
        else "a flow map as base training made it, which candidates of its name are held against"
    )
    shape = "x".join(map(str, known.data.shape))
    yield (
        f"Draws {known.data.modality} of shape {shape} for a prompt, in {num} evaluations of a network: "
        f"{how}."
    )
    if not known.as_published and (told := retirement_of(known.store, version)):
        yield f"\n**Retired** by {told.who} on {told.retired_at:%Y-%m-%d}: {told.reason}"
    yield "\n![Samples beside what it was held against](samples.png)"


def _use(known: _Known) -> Iterator[str]:
    called = f"{known.version.name}@{known.version.version}"
    prompt = known.data.prompts[0] if known.data.prompts else "a prompt"
    yield "## How to use it"
    yield ""
    yield "```sh"
    yield "flowmap models import a-bundle                # where its store is not at hand"
    yield f'flowmap sample {called} --prompt "{prompt}" -o samples.png'
    yield f"flowmap models export {called} a-folder        # for those who have no flowmap"
    yield "```"
    yield ""
    few = known.data.prompts[:_MOST_PROMPTS]
    more = len(known.data.prompts) - len(few)
    yield "Prompts: " + ", ".join(f"`{each}`" for each in few) + (f", and {more} more." if more else ".")


def _figures(known: _Known) -> Iterator[str]:
    """A table: this model, what it was held against, the many-step baseline, real data."""
    models, own = known.evaluated.metrics["models"], str(known.evaluated.verdict.num_evaluations)
    most = max(models["baseline"], key=int)
    name = "base" if known.version.role == "base" else "tuned"
    rows = {f"**this model, {own} evaluations**": models[name][own]}
    if name == "tuned":
        rows[f"its base, {own} evaluations"] = models["base"][own]
    rows[f"many-step baseline, {most} evaluations"] = models["baseline"][most]
    if real := known.evaluated.metrics.get("real"):
        rows["real data, held out"] = real
    columns = [each for each in _NAMES if each in models[name][own]]
    yield "## Figures"
    yield ""
    yield "| | " + " | ".join(_NAMES[each] for each in columns) + " |"
    yield "| --- |" + " ---: |" * len(columns)
    for told, figures in rows.items():
        cells = [f"{figures[each]:.4g}" if each in figures else "" for each in columns]
        yield f"| {told} | " + " | ".join(cells) + " |"
    if name == "tuned":
        yield ""
        yield "What the gate held it to:"
        yield ""
        for criterion in known.evaluated.verdict.criteria:
            yield (
                f"- {criterion.name} {criterion.figure:.4g}, passed at {criterion.relation} "
                f"{criterion.threshold:.4g}: {criterion.meaning}"
            )


def _came_from(checkpoint: Mapping[str, Any]) -> str:
    """A model of others, by its name on the hub and its commit; of one in a folder or a store the last part
    of its name, for the rest is nobody's business."""
    source, revision = str(checkpoint["source"]), checkpoint.get("revision")
    name = f"{source} at {revision}" if revision else source.partition("?")[0].rstrip("/").split("/")[-1]
    if checkpoint.get("train"):
        return f"of {name} the architecture, from scratch"
    return f"{name}, made into a map of two times" if checkpoint.get("convert") else f"{name}, as it came"


def _training(known: _Known) -> Iterator[str]:
    made = known.graph.nodes[known.version.candidate].made_by
    yield "## How it was made"
    yield ""
    config = known.config
    checkpoint = config.get("base_training", {}).get("checkpoint")
    yield f"- base: {_came_from(checkpoint) if checkpoint else 'MeanFlow, from scratch'}"
    if known.version.role == "tuned" and (grpo := config.get("grpo_finetuning")):
        rewards = ", ".join(each.get("name") or each["kind"] for each in grpo["rewards"])
        size = grpo["groups"] * grpo["group_size"]
        yield f"- rewards: {rewards}; {grpo['rollouts']} rollouts of {size} samples, kernel {grpo['kernel']}"
        yield f"- attempt {known.evaluated.verdict.trial} of its name at the gate"
    if made is not None:
        torch = made.libraries.get("torch", "none")
        by = f"flowmap {made.libraries.get('flowmap')}, torch {torch}"
        yield f"- run {made.run_id}, {made.finished_at[:10]}, by {by}"


def _data(known: _Known) -> Iterator[str]:
    facts = known.data
    yield "## Data"
    yield ""
    splits = ", ".join(f"{name} {num:,}" for name, num in facts.splits.items())
    yield f"- {facts.num_read:,} read, {facts.num_duplicates:,} of them twice; by split: {splits}"
    yield f"- {len(facts.prompts):,} prompts"
    for told, num in (
        ("with a caption drawn at random, to learn from careless ones", facts.num_miscaptioned),
        ("left out on request", facts.num_excluded),
        ("left out, for the same stands under another prompt too", facts.num_conflicts),
    ):
        if num:
            yield f"- {num:,} {told}"
    source = known.config.get("data_prep", {}).get("source")
    if isinstance(source, str) and source.isidentifier():  # a path says nothing to others
        yield f"- from `{source}`"


def _limits(known: _Known) -> Iterator[str]:
    real = known.evaluated.metrics.get("real", {})
    yield "## Limits"
    yield ""
    if known.data.prompts:
        yield "- It knows the prompts above and refuses others."
    if "judge_accuracy" in real:
        yield (
            "- The judge is a model too, trained on data that nothing else saw: it reads "
            f"{real['judge_accuracy']:.3f} of held-out real data as what they are."
        )
    own = known.version.figures
    if "recall" in own and "recall" in real:
        yield (
            f"- {own['recall']:.2f} of real data lie within reach of its samples, where real data reach "
            f"{real['recall']:.2f}: what is rare may not be drawn."
        )
    yield "- Nothing was measured of bias, safety, or use beyond the data above."


def _evidence(known: _Known) -> Iterator[str]:
    version = known.version
    yield "## Evidence"
    yield ""
    yield f"- files `{version.manifest.digest}`"
    yield f"- evaluation `{version.evaluation}`"
    if known.as_published:
        yield (
            "- where somebody signed, `model.sig` is over all files of this folder: `model_signing verify "
            "key FOLDER --signature FOLDER/model.sig --public_key KEY.pub`; written by flowmap "
            f"{flowmap.__version__}"
        )
    else:
        yield from _since(known)


def _since(known: _Known) -> Iterator[str]:
    """What came after it was published."""
    version = known.version
    signed = [
        name.rsplit("/", 1)[1].removesuffix(".json")[:12]
        for name in known.store.names(f"models/{version.name}/{version.version}/statements")
        if not is_statement(name)
    ]
    aliases = Registry(known.store, version.name).aliases()
    here = [alias for alias, number in aliases.items() if number == version.version]
    yield f"- signed by {', '.join(f'key `{each}`' for each in signed) or 'nobody'}"
    if here:
        yield f"- {' and '.join(here)} pointed to it when this was written"
    yield (
        f"- `flowmap lineage verify {version.name}@{version.version} --root .` reads every byte that it "
        f"rests on; written by flowmap {flowmap.__version__}"
    )
