"""The commands about data: what changed between two that models were trained on."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flowmap_pipelines import options

if TYPE_CHECKING:
    from flowmap.artifacts.store import ObjectStore
    from flowmap.data.drift import Drift

_WHICH = "DIGEST|NAME[@VERSION|@ALIAS]"


@click.group()
def data() -> None:
    """Look at the data that models were trained on.

    \b
        flowmap data diff digits@1 digits@production
    """


@data.command()
@click.argument("old", metavar=_WHICH)
@click.argument("new", metavar=_WHICH)
@options.ROOT
@options.STORE
@options.JSON
@click.option(
    "--max-psi",
    type=click.FloatRange(min=0, min_open=True),
    help="End with status 1 where an index is larger, or a kind of data came or went.",
)
def diff(old: str, new: str, root: Path, store: str | None, as_json: bool, max_psi: float | None) -> int:
    """Say how the data of one version, or one data artifact, differ from another's.

    What came and went, by content; prompts; how far prompts, words of captions, brightness, contrast and
    sizes moved, as population stability indices; and how many data that models are judged by look like one
    that they are trained on, or where all are trained on, like another of them.

    \b
        flowmap data diff digits@1 digits@production
        flowmap data diff 8f1b2c39872a 1ef9248dcda1 --max-psi 0.25
    """
    import tempfile

    from flowmap.artifacts.transfer import artifact_files, fetch_artifact
    from flowmap.data.dataset import read_facts
    from flowmap.data.drift import compare, read_looks
    from flowmap.data.encoded import SHARDS
    from flowmap.modality import IMAGES
    from flowmap.modality.images.likeness import difference_hash
    from flowmap_pipelines.local_run import indexed_store

    there = indexed_store(root, store)
    looks = []
    for which in (old, new):
        with tempfile.TemporaryDirectory() as folder:
            digest = _data_of(there, which)
            paths = [path for path in artifact_files(there, digest) if not path.startswith(f"{SHARDS}/")]
            fetch_artifact(there, digest, Path(folder), paths)
            images = read_facts(Path(folder)).modality == IMAGES
            looks.append(read_looks(Path(folder), difference_hash if images else None))
    found = compare(*looks)
    if as_json:
        told = asdict(found)
        click.echo(json.dumps(told.pop("both") | told, sort_keys=True))
    else:
        for kind, drift in found.both.items():
            _tell(kind, drift)
        for which, kinds in (("first", found.only_first), ("second", found.only_second)):
            for kind in kinds:
                click.echo(f"{kind}: only the {which} has them")
    return 0 if max_psi is None or found.most <= max_psi else 1


def _data_of(store: ObjectStore, which: str) -> str:
    """The digest of a data artifact, or of that a version was trained on. Raises ConfigError."""
    from flowmap.audit.graph import trace
    from flowmap.audit.impact import digests_of
    from flowmap.errors import ConfigError
    from flowmap.lineage.edges import makers
    from flowmap_pipelines.model_list import find_version

    if len(which) >= 8 and set(which) <= set("0123456789abcdef"):
        found = [
            digest
            for digest in digests_of(store, which)
            if any(record.step == "data_prep" for record in makers(store, digest).values())
        ]
        if len(found) != 1:
            raise ConfigError(f"{which}: {len(found)} data artifacts begin so")
        return found[0]
    graph = trace(store, find_version(store, which))
    beneath = [node.digest for node in graph.nodes.values() if node.kind == "data_prep"]
    if not beneath:
        raise ConfigError(f"{which}: what data it was made of is not on record")
    return beneath[0]


def _tell(kind: str, found: Drift) -> None:
    from flowmap.data.drift import ALONE, FEW, MUCH, WITH_CAPTIONS
    from flowmap.data.naming import named

    old, new = found.counts
    click.echo(f"{old:,} {kind} before, {new:,} now: {found.added:,} came, {found.removed:,} went")
    texts = "captions" if kind == WITH_CAPTIONS else "prompts"
    for told, prompts in (("new", found.new_prompts), ("gone", found.gone_prompts)):
        if prompts:
            click.echo(f"{len(prompts):,} {texts} are {told}: {named(map(repr, prompts))}")
    if found.moved:
        what = "kept from other steps" if kind == ALONE else "in another split"
        click.echo(f"{found.moved:,} are {what} than before")
    for name, index in found.psi.items():
        moved = "did not move" if index < FEW else "moved" if index < MUCH else "moved much"
        click.echo(f"{name} {moved}: {index:.3f}")
    if found.near_duplicates is not None:
        look = f"{found.near_duplicates:,} of them look like another of them"
        if kind != WITH_CAPTIONS:
            look = f"{found.near_duplicates:,} of those that models are judged by look like a trained one"
        click.echo(look)
