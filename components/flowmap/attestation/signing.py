"""Sign all that is stated of a version: how it was made, what each step beneath did, which aliases moved to
it.

    for name in attest(store, version, signer_of("key.pem")):
        print(name)                                  # objects that were written now

They lie beside what they are of, written once, each key's for itself:
`models/<name>/<version>/statements/`, `lineage/statements/<record>/` and `models/<name>/moves/<alias>/<n>/`.
A move that is made with a key at hand is signed before, and its envelope is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from securesystemslib.signer import Signer

from flowmap.artifacts.store import ObjectStore
from flowmap.attestation.envelopes import Signed, envelopes, opened, seal, sealed
from flowmap.attestation.statement import statement_of, statement_of_move, statement_of_run
from flowmap.audit.graph import Node, reached, trace
from flowmap.lineage.record import RECORDS
from flowmap.registry import Registry, Version
from flowmap.registry.records import Move


def attest(store: ObjectStore, version: Version, signer: Signer) -> list[str]:
    """Sign what has no signature of this key yet; returns the names of what was written."""
    graph, registry = trace(store, version), Registry(store, version.name)
    written = _sign_runs(store, graph.nodes.values(), signer)
    for alias, number, move in moves_to(registry, version):
        told = partial(statement_of_move, registry, alias, number, move)
        written += _sign(store, registry.moved.folder(alias, number), told, signer)
    return written + _sign(store, folder_of(version), partial(statement_of, graph, version), signer)


def attest_runs(store: ObjectStore, artifact: str, signer: Signer) -> list[str]:
    """Sign what each step did beneath an artifact, such as the evaluation of a rejected candidate, which is
    no version; returns the names of what was written."""
    return _sign_runs(store, reached(store, [artifact], {}).values(), signer)


def _sign_runs(store: ObjectStore, nodes: Iterable[Node], signer: Signer) -> list[str]:
    records = {digest: record for node in nodes for digest, record in node.records.items()}
    return [
        name
        for digest, record in records.items()
        for name in _sign(store, folder_of_run(digest), partial(statement_of_run, digest, record), signer)
    ]


def _sign(store: ObjectStore, folder: str, statement: Callable[[], bytes], signer: Signer) -> list[str]:
    """Once for each key; returns the name of what was written, if anything was."""
    if store.exists(f"{folder}/{signer.public_key.keyid}.json"):
        return []
    return [seal(store, folder, statement(), signer)]


def signing_moves(registry: Registry, signer: Signer) -> Registry:
    """The same registry; whatever moves an alias in it is signed first."""

    def seal_move(alias: str, number: int, move: Move) -> dict[str, Any]:
        return sealed(statement_of_move(registry, alias, number, move), signer)

    return replace(registry, seal=seal_move)


def moves_to(registry: Registry, version: Version) -> Iterator[tuple[str, int, Move]]:
    """Every move of an alias that leads to a version: the alias, the move's number and the move."""
    for alias in registry.aliases():
        for number, move in enumerate(registry.moves(alias), 1):
            if move.version == version.version:
                yield alias, number, move


def signatures_of_move(registry: Registry, alias: str, number: int, move: Move) -> list[Signed]:
    """All envelopes of a move: the one in it, and those beside it. Raises IntegrityError."""
    beside = list(envelopes(registry.store, registry.moved.folder(alias, number)))
    if move.envelope is None:
        return beside
    inside = opened(registry.moved.name(alias, number), move.envelope)
    copied = {(each.payload, each.key_ids) for each in beside}
    return beside if (inside.payload, inside.key_ids) in copied else [inside, *beside]


def moves_are_signed(registry: Registry) -> bool:
    """Whether anybody ever signed a move of an alias of that name: an older flowmap did not."""
    moved = registry.moved
    beside = len(moved.folder("alias", 1).split("/"))
    return any(
        len(name.split("/")) > beside for name in registry.store.names(f"models/{registry.name}/moves")
    ) or any(moved.read(alias, numbers[-1]).envelope for alias, numbers in moved.numbers().items())


def folder_of(version: Version) -> str:
    """Where signed statements of a version lie."""
    return f"models/{version.name}/{version.version}/statements"


def folder_of_run(record: str) -> str:
    """Where those of a step's run lie, by its record's digest."""
    return f"{RECORDS}/statements/{record}"
