"""State what is known of a version, and sign it: how it was made, what each step beneath did, which aliases
moved to it.

    for name in attest(store, version, signer_of("key.pem")):
        print(name)                                  # objects that were written now

Statements and their envelopes lie beside what they are of, written once, each key's for itself:
`models/<name>/<version>/statements/`, `lineage/statements/<record>/`, `models/<name>/moves/<alias>/<n>/` and
`models/<name>/<version>/retirement/`;
over the published files there is a signature of its own, `models/<name>/<version>/signatures/`.
Without a key what is stated is kept all the same, under its digest; of a move, the move itself says it.
A move that is made with a key at hand is signed before, and its envelope is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from securesystemslib.signer import Signer

from flowmap.artifacts.digest import canonical_json
from flowmap.artifacts.store import ObjectStore
from flowmap.attestation.envelopes import Signed, envelopes, opened, seal, sealed
from flowmap.attestation.model_signature import sign_files
from flowmap.attestation.statement import statement_of, statement_of_move, statement_of_retirement
from flowmap.audit.graph import Node, reached, trace
from flowmap.lineage.edges import add_missing_edges
from flowmap.lineage.statement import folder_of_run, is_statement, keep, statement_of_run
from flowmap.registry import Registry, Version
from flowmap.registry.records import Move
from flowmap.registry.retiring import (
    Retirement,
    folder_of_retirement,
    retire,
    retirement_name,
    retirement_of,
)


def attest(store: ObjectStore, version: Version, signer: Signer | None) -> list[str]:
    """Sign what has no signature of this key yet, or without a key state it at least; returns the names of
    what was written.

    A version from before there were statements as such gets none: what it would say could change, for it
    does not name the records that it rests on.
    """
    if signer is None and version.records is None:
        return []
    add_missing_edges(store)
    graph, registry = trace(store, version), Registry(store, version.name)
    written = _state_runs(store, graph.nodes.values(), signer)
    for alias, number, move in moves_to(registry, version) if signer is not None else ():
        written += _sign(
            store,
            registry.moved.folder(alias, number),
            partial(statement_of_move, registry, alias, number, move),
            signer,
        )
    if signer is not None and (told_of := retirement_of(store, version)):
        said = partial(statement_of_retirement, version, told_of)
        written += _sign(store, folder_of_retirement(version), said, signer)
    if signer is not None and (name := sign_files(store, version, signer)):
        written.append(name)
    told = partial(statement_of, graph, version)
    return written + _state(store, folder_of(version), told, signer, is_kept=version.records is not None)


def attest_runs(store: ObjectStore, artifact: str, signer: Signer | None) -> list[str]:
    """The same of what each step did beneath an artifact, such as the evaluation of a rejected candidate,
    which is no version; returns the names of what was written."""
    return _state_runs(store, reached(store, [artifact], {}).values(), signer)


def _state_runs(store: ObjectStore, nodes: Iterable[Node], signer: Signer | None) -> list[str]:
    records = {digest: record for node in nodes for digest, record in node.records.items()}
    written = []
    for digest, record in records.items():
        told = partial(statement_of_run, digest, record)
        written += _state(store, folder_of_run(digest), told, signer, is_kept=True)
    return written


def _state(
    store: ObjectStore, folder: str, statement: Callable[[], bytes], signer: Signer | None, *, is_kept: bool
) -> list[str]:
    """The statement as such where `is_kept`, and its envelope where there is a key; what was written."""
    there = list(store.names(folder))
    written = []
    if is_kept and not any(map(is_statement, there)) and (kept := keep(store, folder, statement())):
        written.append(kept)
    return written + (_sign(store, folder, statement, signer) if signer is not None else [])


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


def retire_signed(registry: Registry, version: Version, reason: str, signer: Signer) -> Retirement:
    """Take a version out of use, signed: in the same write, and once more beside it. Raises ConfigError."""

    def seal_retirement(told: Retirement) -> dict[str, Any]:
        return sealed(statement_of_retirement(version, told), signer)

    told = retire(registry, version, reason, seal_retirement)
    if told.envelope is not None:
        (signature, *_) = told.envelope["signatures"]
        name = f"{folder_of_retirement(version)}/{signature['keyid']}.json"
        registry.store.create(name, canonical_json(told.envelope))
    return told


def signatures_of_retirement(store: ObjectStore, version: Version, told: Retirement) -> list[Signed]:
    """All envelopes of a retirement: the one in it, and those beside it. Raises IntegrityError."""
    beside = list(envelopes(store, folder_of_retirement(version)))
    if told.envelope is None:
        return beside
    inside = opened(retirement_name(version), told.envelope)
    copied = {(each.payload, each.key_ids) for each in beside}
    return beside if (inside.payload, inside.key_ids) in copied else [inside, *beside]


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
    """Where a version's statement lies, and its envelopes."""
    return f"models/{version.name}/{version.version}/statements"
