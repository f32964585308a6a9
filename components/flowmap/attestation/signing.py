"""Sign all that is stated of a version: how it was made, what each step beneath did, which aliases moved to
it.

    for name in attest(store, version, signer_of("key.pem")):
        print(name)                                  # objects that were written now

They lie beside what they are of, written once, each key's for itself:
`models/<name>/<version>/statements/`, `lineage/statements/<record>/` and `models/<name>/moves/<alias>/<n>/`.
"""

from __future__ import annotations

from collections.abc import Iterator

from securesystemslib.signer import Signer

from flowmap.artifacts.store import ObjectStore
from flowmap.attestation.envelopes import seal
from flowmap.attestation.statement import statement_of, statement_of_move, statement_of_run
from flowmap.audit.graph import trace
from flowmap.lineage.record import RECORDS
from flowmap.registry import Registry, Version
from flowmap.registry.records import Move


def attest(store: ObjectStore, version: Version, signer: Signer) -> list[str]:
    """Sign what has no signature of this key yet; returns the names of what was written."""
    graph, written = trace(store, version), []
    key_id = signer.public_key.keyid

    def sign(folder: str, payload: bytes) -> None:
        if not store.exists(f"{folder}/{key_id}.json"):
            written.append(seal(store, folder, payload, signer))

    for node in graph.nodes.values():
        for digest, record in node.records.items():
            sign(folder_of_run(digest), statement_of_run(digest, record))
    registry = Registry(store, version.name)
    for alias, number in moves_to(registry, version):
        sign(folder_of_move(registry, alias, number), statement_of_move(registry, alias, number))
    sign(folder_of(version), statement_of(graph, version))
    return written


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
