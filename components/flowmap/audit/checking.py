"""Whether what a version rests on is whole: every byte, every record, every link.

    audit = check(store, version)
    audit.faults                 # each with the object, what was expected and what was found
    audit.num_files, audit.num_bytes, audit.num_records

Nothing but the objects themselves is trusted: artifacts are read and hashed, records too; a step's digest is
computed anew from what its record says decided it, and a version's figures are those of its evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from flowmap.artifacts.digest import canonical_json, sha256_of
from flowmap.artifacts.manifest import MANIFEST_NAME, Manifest, artifact_digest, parse_manifest
from flowmap.artifacts.store import ObjectStore
from flowmap.artifacts.transfer import artifact_prefix, faults
from flowmap.audit.faults import Audit
from flowmap.audit.graph import Graph, Node, made_node, trace
from flowmap.audit.registry_checks import (
    check_pushed,
    check_registry,
    pushes,
    trial_told,
    verdict_told,
)
from flowmap.errors import IntegrityError
from flowmap.json_text import read_json
from flowmap.lineage.record import RECORDS, StepRecord, decided_by, edges_of
from flowmap.lineage.sources import SOURCES, fault_of
from flowmap.registry import Registry, Version
from flowmap.registry.documents import documents_prefix
from flowmap.registry.evaluation_result import figures_of, read_judgement
from flowmap.registry.files import is_beside
from flowmap.registry.retiring import retirement_of


@dataclass(frozen=True)
class Looked:
    """What was found of each artifact, and of files as they were published, for who asks of several
    versions: they rest on the same ones, which are read once."""

    found: dict[str, Audit] = field(default_factory=dict)
    manifests: dict[str, Manifest] = field(default_factory=dict)

    def at(self, what: str, audit: Audit, look: Callable[[Audit], None]) -> None:
        """Add to an audit what is found there, now or before."""
        if what not in self.found:
            self.found[what] = part = Audit()
            look(part)
        audit.take(self.found[what])


def check(
    store: ObjectStore, version: Version, *, with_registry: bool = True, looked: Looked | None = None
) -> Audit:
    """Look at a version and at everything that it rests on.

    Args:
        with_registry: look at what the registry keeps of that name beside versions, too.
        looked: what was found of other versions of that store, moments ago.
    """
    looked = looked or Looked()
    audit = Audit()
    graph = trace(store, version, audit.add)
    if audit.faults:
        audit.notes.append(
            f"what lies beneath {version.name}@{version.version} is known as far as other records tell it: "
            "mend those that are damaged, and look again"
        )
    if cycle := graph.cycle():
        told = " of ".join(each[:12] for each in cycle)
        audit.add(f"{RECORDS}/", f"artifacts are made of each other: {told}")
    registry = Registry(store, version.name)
    versions = {each.manifest.digest: each for each in registry.versions(audit.add)}
    versions[version.manifest.digest] = version  # where others have the same files
    for node in graph.nodes.values():
        if node.is_artifact:
            looked.at(node.digest, audit, partial(_check_node, store, node, looked.manifests))
    _check_sources(store, graph, audit)
    for digest in (node.digest for node in graph.nodes.values() if node.kind == "version"):
        _check_version(registry, versions[digest], looked, audit)
    pushed = [version for version in versions.values() if version.manifest.digest in graph.nodes]
    for version in pushed:
        _check_pushes(registry, version, looked, audit)
    if with_registry:
        check_registry(registry, audit)
    return audit


def _check_pushes(registry: Registry, version: Version, looked: Looked, audit: Audit) -> None:
    """The runs that published a version did what they say."""
    store = registry.store
    records = pushes(store, version, audit.add)
    outputs = sorted({each.output for each in records.values()})
    for node in (made_node(store, digest, audit.add) for digest in outputs):
        if any(True for _ in store.names(artifact_prefix(node.digest))):
            looked.at(node.digest, audit, partial(_check_node, store, node, looked.manifests))
        else:  # `flowmap gc` of an older flowmap took it away
            name = f"{artifact_prefix(node.digest)}/{MANIFEST_NAME}"
            audit.notes.append(
                f"{name} is gone, and with it what the run says that published {version.name}"
            )
    for record in records.values():
        check_pushed(registry, version, record, audit)


def _check_sources(store: ObjectStore, graph: Graph, audit: Audit) -> None:
    """The code that ran, and the list of what was installed beside it."""
    records = [record for node in graph.nodes.values() for record in node.records.values()]
    kept = {(record.sources, "zip") for record in records} | {
        (record.environment, "txt") for record in records
    }
    for digest, kind in sorted((digest, kind) for digest, kind in kept if digest is not None):
        if fault := fault_of(store, digest, kind):
            audit.add(f"{SOURCES}/{digest}.{kind}", fault)


def _check_node(store: ObjectStore, node: Node, manifests: dict[str, Manifest], audit: Audit) -> None:
    prefix = artifact_prefix(node.digest)
    name = f"{prefix}/{MANIFEST_NAME}"
    try:
        manifest = parse_manifest(store.get(name), where=name)
    except KeyError:
        if node.records:
            audit.add(name, f"is missing, and {_who(node)} made that artifact")
        return  # data from outside, which no store holds
    except IntegrityError as error:
        audit.add(name, str(error))
        return
    if manifest.digest != node.digest:
        audit.add(name, f"describes artifact {manifest.digest}")
        return
    manifests[node.digest] = manifest
    if node.made_by is None:
        audit.add(name, "no record says which run made this artifact")
    elif node.made_by.reused:
        audit.add(f"{RECORDS}/made/{node.digest}/", "no record says which run made it, only who reused it")
    _check_files(store, manifest, prefix, audit)
    audit.num_artifacts += 1
    known = {record.step_digest for record in node.records.values()}
    if node.records and manifest.step_digest not in known:
        audit.add(name, f"names step digest {manifest.step_digest}, and no record of that artifact does")
    for digest, record in node.records.items():
        _check_record(store, digest, record, node, manifest, audit)
    audit.num_records += len(node.records)


def _check_files(store: ObjectStore, manifest: Manifest, prefix: str, audit: Audit) -> None:
    for name, told in faults(store, manifest, prefix).items():
        audit.add(name, told)
    expected = {f"{prefix}/{entry.path}" for entry in manifest.files} | {f"{prefix}/{MANIFEST_NAME}"}
    for name in store.names(prefix):
        if name not in expected:
            audit.add(name, "is no file of that artifact")
    audit.num_files += len(manifest.files)
    audit.num_bytes += sum(entry.size for entry in manifest.files)


def _check_record(
    store: ObjectStore, digest: str, record: StepRecord, node: Node, manifest: Manifest, audit: Audit
) -> None:
    name = f"{RECORDS}/{digest}.json"
    for edge in edges_of(digest, record):
        if not store.exists(edge):
            audit.add(edge, "is missing: an edge of the record of that name")
    if record.output != node.digest:
        audit.add(name, f"is of artifact {record.output}, and an edge says {node.digest}")
    if record.step != manifest.step:
        audit.add(name, f"says that {record.step} made the artifact, and its manifest says {manifest.step}")
    decided = decided_by(record)
    if decided is None:
        return
    found = sha256_of(canonical_json(decided))
    if found != record.step_digest:
        audit.add(name, f"names step digest {record.step_digest}, and what decided it comes to {found}")
    elif record.step_digest != manifest.step_digest:
        audit.notes.append(
            f"{record.step} of run {record.run_id} came to the artifact that step digest "
            f"{manifest.step_digest[:12]} had come to: other settings, the same bytes"
        )


def _check_version(registry: Registry, version: Version, looked: Looked, audit: Audit) -> None:
    manifests, name = looked.manifests, f"models/{version.name}/{version.version}/version.json"
    published_at = [(version.manifest, registry.files_prefix(version))]
    if version.documents is not None:
        published_at.append((version.documents, documents_prefix(version)))
    for manifest, prefix in published_at:
        looked.at(prefix, audit, partial(_check_files, registry.store, manifest, prefix))
    folder = f"models/{version.name}/{version.version}"
    for each in registry.store.names(folder):
        if not is_beside(folder, each):
            audit.add(each, "is nothing that a registry keeps of a version")
    audit.num_versions += 1
    try:
        if told := retirement_of(registry.store, version):
            called = f"{version.name}@{version.version}"
            audit.notes.append(
                f"{called} was retired by {told.who} on {told.retired_at:%Y-%m-%d}: {told.reason}"
            )
    except IntegrityError as error:
        audit.add(f"models/{version.name}/{version.version}/retired.json", str(error))
    published = [each for each in (version.manifest, version.documents) if each is not None]
    if any(artifact_digest(each.files) != each.digest for each in published):
        audit.add(name, "lists other files than its digest is of")
    candidate = manifests.get(version.candidate)
    if candidate is not None:
        if not set(version.manifest.files) <= set(candidate.files):
            audit.add(name, f"publishes files that are not those of its candidate, {version.candidate}")
        made = (candidate.step, candidate.step_digest)
        if made != (version.manifest.step, version.manifest.step_digest):
            audit.add(name, f"names another maker than its candidate, {version.candidate}")
    if version.evaluation in manifests:
        _compare_with_evaluation(registry.store, version, name, audit)


def _compare_with_evaluation(store: ObjectStore, version: Version, name: str, audit: Audit) -> None:
    """All that a version says of itself stands in its evaluation too."""
    try:
        verdict, metrics = read_judgement(store, version.evaluation)
        is_base = version.role == "base"
        expected: dict[str, Any] = {
            "role": "base" if version.manifest.step == "base_training" else "tuned",
            "figures": figures_of(metrics, verdict, "base" if is_base else "tuned"),
            "verdict": {} if is_base else verdict_told(verdict),
            "incumbent": None if is_base else metrics["incumbent"],
            "trial": None if is_base else trial_told(verdict),
            "grid": tuple(metrics["trained_grid"]) if is_base else None,
            "schema_version": 1,
        }
    except (IntegrityError, ValueError, KeyError, TypeError):
        return  # its files are damaged, which is told of them
    _check_attempt(store, version, metrics.get("terms"), audit)
    told = {each: getattr(version, each) for each in expected}
    told["verdict"] = told["verdict"] and verdict_told(told["verdict"])
    for each, value in expected.items():
        if told[each] != value:
            audit.add(name, f"has another {each} than its evaluation, {version.evaluation}, says")


def _check_attempt(store: ObjectStore, version: Version, terms: str | None, audit: Audit) -> None:
    """A version that passed the gate has the number of its attempt, on the terms that it was judged by."""
    if version.trial is None:
        return
    name = f"models/{version.name}/attempts/{version.trial}.json"
    try:
        found = read_json(store.get(name))
    except KeyError:
        audit.add(name, f"is missing: the attempt at the gate that version {version.version} passed")
    except ValueError as error:
        audit.add(name, f"was changed after it was written: no candidate and terms, {error}")
    else:
        if found != (expected := [version.candidate, terms]):
            audit.add(name, f"is another's than that of version {version.version}: {found}, not {expected}")


def _who(node: Node) -> str:
    record = node.made_by
    assert record is not None
    return f"{record.step} of run {record.run_id}"
