"""Sign all that is stated of a version: how it was made, what each step beneath did, which aliases moved to
it.

    for name in attest(store, version, signer_of("key.pem")):
        print(name)                                  # objects that were written now

They lie beside what they are of, written once, each key's for itself:
`models/<name>/<version>/statements/`, `lineage/statements/<record>/` and `models/<name>/moves/<alias>/<n>/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from securesystemslib.signer import Signer

from flowmap.artifacts.store import ObjectStore
from flowmap.attestation.envelopes import seal
from flowmap.attestation.statement import statement_of, statement_of_move, statement_of_run
from flowmap.audit.graph import Node, reached, trace
from flowmap.lineage.record import RECORDS
from flowmap.registry import Registry, Version
from flowmap.registry.records import Move


def attest(store: ObjectStore, version: Version, signer: Signer) -> list[str]:
    """Sign what has no signature of this key yet; returns the names of what was written."""
    graph, registry = trace(store, version), Registry(store, version.name)
    written = _sign_runs(store, graph.nodes.values(), signer)
    for alias, number in moves_to(registry, version):
        folder = folder_of_move(registry, alias, number)
        written += _sign(store, folder, partial(statement_of_move, registry, alias, number), signer)
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


def sign_move(registry: Registry, alias: str, move: Move, signer: Signer) -> str:
    """Sign one move that was made; returns the object's name."""
    numbered = dict(enumerate(registry.moves(alias), 1))
    number = max(number for number, each in numbered.items() if each == move)
    folder = folder_of_move(registry, alias, number)
    return seal(registry.store, folder, statement_of_move(registry, alias, number), signer)


def moves_to(registry: Registry, version: Version) -> Iterator[tuple[str, int]]:
    """Every move of an alias that leads to a version: the alias, and the move's number."""
    for alias in registry.aliases():
        for number, move in enumerate(registry.moves(alias), 1):
            if move.version == version.version:
                yield alias, number


def moves_are_signed(registry: Registry) -> bool:
    """Whether anybody ever signed a move of an alias of that name: an older flowmap did not."""
    parts = len(folder_of_move(registry, "alias", 1).split("/"))
    return any(
        len(name.split("/")) > parts for name in registry.store.names(f"models/{registry.name}/moves")
    )


def folder_of(version: Version) -> str:
    """Where signed statements of a version lie."""
    return f"models/{version.name}/{version.version}/statements"


def folder_of_run(record: str) -> str:
    """Where those of a step's run lie, by its record's digest."""
    return f"{RECORDS}/statements/{record}"


def folder_of_move(registry: Registry, alias: str, number: int) -> str:
    """Where those of a move lie."""
    return f"models/{registry.name}/moves/{alias}/{number}"
