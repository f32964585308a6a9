"""A version with all that it rests on, carried from one store to another.

    names = carried(store, version)              # of objects, in the order in which they have to be written
    carry(store, other, names)                   # IntegrityError where the other says something else

What arrives is what was sent, under the same names: digests, records, statements and signatures hold there
as they did here. Aliases are not carried, for each store says for itself what it uses.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from flowmap.artifacts.manifest import MANIFEST_NAME, parse_manifest
from flowmap.artifacts.store import ObjectStore
from flowmap.artifacts.transfer import artifact_prefix
from flowmap.audit.graph import Graph, trace
from flowmap.errors import IntegrityError
from flowmap.lineage.record import RECORDS, StepRecord, edges_of
from flowmap.lineage.sources import SOURCES
from flowmap.registry import Registry, Version
from flowmap.registry.documents import documents_prefix
from flowmap.registry.files import is_beside
from flowmap.settings import ANCHOR

_PARALLEL = 8


def carried(store: ObjectStore, version: Version) -> list[list[str]]:
    """Names of the objects that a version rests on, in groups: what another rests on comes before it.

    Of the runs that reused an artifact those of its own name go along, and of each artifact its maker's:
    what other models the house has is nobody else's business.
    """
    versions = with_rivals(store, version)
    graphs = [trace(store, each) for each in versions]
    artifacts = {node.digest for graph in graphs for node in graph.nodes.values() if node.is_artifact}
    bytes_, manifests = [], []
    for digest in sorted(artifacts):
        names, own = list(store.names(artifact_prefix(digest))), f"{artifact_prefix(digest)}/{MANIFEST_NAME}"
        bytes_ += [name for name in names if name != own]
        manifests += [name for name in names if name == own]
    for each in versions:
        bytes_ += store.names(Registry(store, each.name).files_prefix(each))
        bytes_ += store.names(documents_prefix(each)) if each.documents is not None else ()
    told: list[str] = []
    last: list[list[str]] = []  # one after the other, for they rest on each other
    for each in versions:
        folder = f"models/{each.name}/{each.version}"
        names = [name for name in store.names(folder) if is_beside(folder, name)]
        told += [name for name in names if not name.endswith("/version.json")]
        last.append([name for name in names if name.endswith("/version.json")])
    named = _named(versions)
    evidence = sorted({name for graph in graphs for name in _evidence(store, graph, version.name, named)})
    return [bytes_, manifests, evidence, told, *last]


def records_of(store: ObjectStore, version: Version) -> set[str]:
    """Digests of the records among them."""
    versions = with_rivals(store, version)
    graphs, named = (trace(store, each) for each in versions), _named(versions)
    return {digest for graph in graphs for digest, _ in _records(graph, version.name, named)}


def carry(source: ObjectStore, target: ObjectStore, names: Iterable[str]) -> int:
    """Copy objects that are not there yet; returns how many were.

    Raises IntegrityError where one is there and is another.
    """
    with ThreadPoolExecutor(_PARALLEL) as pool:
        return sum(pool.map(partial(_carry_one, source, target), names))


def is_taken(source: ObjectStore, target: ObjectStore, version: Version) -> bool:
    """Whether the target has another version of that name and number than the source."""
    name = f"models/{version.name}/{version.version}/version.json"
    return target.exists(name) and target.get(name) != source.get(name)


def with_rivals(store: ObjectStore, version: Version) -> list[Version]:
    """What goes together: a version, behind those that it and its name's candidates were held against."""
    registry = Registry(store, version.name)
    there = {each.manifest.digest: each for each in registry.versions()}
    wanted = {version.manifest.digest}
    if (number := registry.aliases().get(ANCHOR)) is not None:
        wanted.add(registry.resolve(str(number)).manifest.digest)
    nodes = [node for digest in wanted for node in trace(store, there[digest]).nodes.values()]
    wanted |= {node.digest for node in nodes if node.kind == "version"}
    rivals = [each for digest, each in there.items() if digest in wanted and each != version]
    return [*rivals, version]


def _named(versions: Iterable[Version]) -> set[str]:
    """Digests of the records that versions themselves name."""
    return {digest for each in versions for digest in (each.records or {}).values()}


def _records(graph: Graph, name: str, named: set[str]) -> Iterator[tuple[str, StepRecord]]:
    for node in graph.nodes.values():
        for digest, record in node.records.items():
            is_own = (record.config or {}).get("name") == name
            if record == node.made_by or is_own or digest in named:
                yield digest, record


def _evidence(store: ObjectStore, graph: Graph, name: str, named: set[str]) -> Iterator[str]:
    """Records, what leads to them, what was signed of them, and the code that they name."""
    for digest, record in _records(graph, name, named):
        yield f"{RECORDS}/{digest}.json"
        yield from edges_of(digest, record)
        yield from store.names(f"{RECORDS}/statements/{digest}")
        if record.sources is not None:
            yield f"{SOURCES}/{record.sources}.zip"
        if record.environment is not None:
            yield f"{SOURCES}/{record.environment}.txt"


def _carry_one(source: ObjectStore, target: ObjectStore, name: str) -> bool:
    with tempfile.NamedTemporaryFile() as file:
        digest = hashlib.sha256()
        try:
            for chunk in source.chunks(name):
                file.write(chunk)
                digest.update(chunk)
        except KeyError:
            raise IntegrityError(f"{name} is missing in {source.url}") from None
        file.flush()
        if not target.exists(name):
            target.put_file(name, Path(file.name))
            return True
        if not _is_same(source, target, name, digest.digest()):
            raise IntegrityError(
                f"{name} is there in {target.url}, and is another than in {source.url}: nothing is written "
                "over; `flowmap lineage verify` says which of the two is not what it was"
            )
        return False


def _is_same(source: ObjectStore, target: ObjectStore, name: str, expected: bytes) -> bool:
    digest = hashlib.sha256()
    for chunk in target.chunks(name):
        digest.update(chunk)
    if digest.digest() == expected:
        return True
    if not name.endswith(f"/{MANIFEST_NAME}"):
        return False
    # The same bytes, made by two steps: each store names its own maker.
    one, other = (parse_manifest(store.get(name), where=name) for store in (source, target))
    return one.digest == other.digest
