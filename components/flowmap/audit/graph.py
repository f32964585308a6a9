"""What a version was made of, backwards to data that came from outside.

graph = trace(store, version)
for node in graph.nodes.values():            # a version first, then what it names, and so on
    print(node.kind, node.digest, node.inputs)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from flowmap.artifacts.digest import is_digest
from flowmap.artifacts.store import ObjectStore
from flowmap.errors import IntegrityError, Spoiled
from flowmap.lineage.edges import makers
from flowmap.lineage.record import StepRecord
from flowmap.registry import Registry, Version

CHECKPOINT = "checkpoint"  # what base training calls a model that it is given


@dataclass(frozen=True)
class Node:
    """Something with a digest that other things were made of.

    Attributes:
        kind: the step that made it; `version`, or `outside` for what no step made.
        inputs: what it was made of, by the name that the step gives it: digests.
        records: of the steps that made or reused it, by their digests, whoever did the work first.
        label: for people.
    """

    digest: str
    kind: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    records: Mapping[str, StepRecord] = field(default_factory=dict)
    label: str = ""

    @property
    def is_artifact(self) -> bool:
        """Whether a step's artifact has that digest; a version, where all of its candidate is published."""
        return self.kind != "version" or bool(self.records)

    @property
    def step(self) -> str:
        """That made it; of what no step made, its kind."""
        return self.kind if self.made_by is None else self.made_by.step

    @property
    def made_by(self) -> StepRecord | None:
        """The record of the run that did the work; None for what no step made."""
        return next(iter(self.records.values()), None)


@dataclass(frozen=True)
class Graph:
    """Nodes by their digests, and the one that was asked for."""

    root: str
    nodes: Mapping[str, Node]

    @property
    def records(self) -> dict[str, StepRecord]:
        """Of every run that made or reused something of it, by their digests."""
        return {digest: record for node in self.nodes.values() for digest, record in node.records.items()}

    @property
    def weights(self) -> Node:
        """The artifact that the version's weights are of."""
        return self.nodes[self.nodes[self.root].inputs.get("model", self.root)]

    def check_ordered(self) -> None:
        """Raise IntegrityError where artifacts are made of each other, for whoever goes step by step."""
        if cycle := self.cycle():
            told = " of ".join(each[:12] for each in cycle)
            raise IntegrityError(
                f"artifacts are made of each other: {told}; `flowmap lineage verify` names all that is wrong"
            )

    def cycle(self) -> tuple[str, ...]:
        """Digests that are made of each other, in turn; nothing where all is well."""
        made_of = {
            digest: [each for each in node.inputs.values() if each in self.nodes]
            for digest, node in self.nodes.items()
        }
        try:
            TopologicalSorter(made_of).prepare()
        except CycleError as error:
            return tuple(reversed(error.args[1]))
        return ()


def trace(store: ObjectStore, version: Version, spoiled: Spoiled | None = None) -> Graph:
    """Everything that a version rests on, whether it can still be found or not.

    A version rests on its candidate and on the evaluation that the gate decided by; an evaluation names the
    version it held the candidate against by the digest of its published files, and the trace goes on there.

    Args: spoiled: is told of records and versions that are not what they were, which are left out then.

    Raises:
        IntegrityError: there is such a one, and nobody to tell.
    """
    published = {each.manifest.digest: each for each in Registry(store, version.name).versions(spoiled)}
    published[version.manifest.digest] = version  # also where it is about to be
    roots = [version.manifest.digest, version.evaluation]
    return Graph(version.manifest.digest, reached(store, roots, published, spoiled))


def reached(
    store: ObjectStore,
    digests: Iterable[str],
    published: Mapping[str, Version],
    spoiled: Spoiled | None = None,
) -> dict[str, Node]:
    """What those digests rest on, themselves too, by digest.

    Args:
        published: versions by the digest of their files; what names one of them rests on it.
        spoiled: is told of records that are not what they were, which are left out then.

    Raises:
        IntegrityError: there is such a one, and nobody to tell.
    """
    nodes: dict[str, Node] = {}
    waiting = list(digests)
    while waiting:
        digest = waiting.pop(0)
        if digest in nodes:
            continue
        made = published.get(digest)
        nodes[digest] = made_node(store, digest, spoiled) if made is None else _version(store, made, spoiled)
        waiting += nodes[digest].inputs.values()
    return nodes


def _version(store: ObjectStore, version: Version, spoiled: Spoiled | None) -> Node:
    digest, label = version.manifest.digest, f"{version.name}@{version.version}"
    if digest != version.candidate:
        inputs = {"model": version.candidate, "evaluation": version.evaluation}
        return Node(digest, "version", inputs, label=label)
    # Published whole, it is the candidate too, which its evaluation rests on.
    made = made_node(store, digest, spoiled)
    return Node(digest, "version", made.inputs, made.records, label=label)


def made_node(store: ObjectStore, digest: str, spoiled: Spoiled | None = None) -> Node:
    """An artifact with the records of the steps that made or reused it; `spoiled` as for `reached`."""
    records = makers(store, digest, spoiled)
    if not records:
        return Node(digest, "outside")
    first = next(iter(records.values()))
    inputs = {name: used for name, used in first.inputs.items() if is_digest(used)}
    return Node(digest, first.step, inputs, records, label=first.step)


def beneath(graph: Graph, version: Version) -> list[Node]:
    """Everything that a version was made of, by step and digest; what it was held against is no part of
    it."""
    found: dict[str, Node] = {}
    waiting = [version.candidate]
    while waiting:
        node = graph.nodes.get(waiting.pop())
        if node is None or node.digest in found or not node.is_artifact:
            continue
        found[node.digest] = node
        waiting += used_by(version, node).values()
    return sorted(found.values(), key=lambda node: (node.step, node.digest))


def used_by(version: Version, node: Node) -> dict[str, str]:
    """What an artifact beneath a version was made of: digests, by the names that its step gives them."""
    made = maker_of(version, node)
    used = node.inputs if made is None else made.inputs
    return {name: digest for name, digest in used.items() if is_digest(digest)}


def maker_of(version: Version, node: Node) -> StepRecord | None:
    """Who made an artifact, as was known when the version was published."""
    return node.records.get((version.records or {}).get(node.digest, "")) or node.made_by


def outside_of(graph: Graph, version: Version) -> dict[str, str]:
    """Digests beneath a version of what no step made, with what each is to what was made of it: `source`,
    `checkpoint`, `reward clip`."""
    named = [
        (name, digest)
        for node in beneath(graph, version)
        for name, digest in used_by(version, node).items()
        if digest in graph.nodes and not graph.nodes[digest].records and graph.nodes[digest].is_artifact
    ]
    # What is trained further is that first of all: it may have encoded pictures too.
    return {digest: name for name, digest in sorted(named, key=lambda each: (each[0] == CHECKPOINT, each))}
