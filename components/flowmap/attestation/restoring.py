"""What was lost or damaged in a store and can be told from what is left: statements, and moves of aliases.

for name in restore_moves(registry, trusted): ...       # from the signature that lies beside a move
for name in restore_statements(registry, version): ...  # from the records
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

from pydantic import ValidationError

from flowmap.attestation.envelopes import Signed, envelopes
from flowmap.attestation.signing import folder_of
from flowmap.attestation.statement import statement_of
from flowmap.attestation.trust import TrustedKeys
from flowmap.audit.graph import trace
from flowmap.audit.registry_checks import pushes
from flowmap.errors import FlowmapError
from flowmap.json_text import read_json
from flowmap.lineage.statement import folder_of_run, statement_name, statement_of_run
from flowmap.registry import Move, Registry, Version
from flowmap.registry.retiring import (
    Retirement,
    folder_of_retirement,
    retirement_name,
    write_retirement,
)


def restore_moves(registry: Registry, trusted: TrustedKeys | None) -> Iterator[str]:
    """Write moves that are gone from the signatures that they left behind; yields their names.

    Args: trusted: one of these keys has to have signed it; None takes any signature.
    """
    moved = registry.moved
    for name in moved.lost():
        alias, number = moved.parse(name)
        for signed in envelopes(registry.store, moved.folder(alias, number)):
            if trusted is not None and trusted.refusal([signed], datetime.now(UTC).date()):
                continue
            if (move := _said(registry.name, alias, number, signed)) and moved.restore(alias, number, move):
                yield name
                break


def restore_retirement(
    registry: Registry, version: Version, trusted: TrustedKeys | None = None
) -> Iterator[str]:
    """Write a retirement that is gone from the signature that it left behind; yields its name.

    Args: trusted: one of these keys has to have signed it; None takes any signature.
    """
    store, name = registry.store, retirement_name(version)
    if store.exists(name):
        return
    for signed in envelopes(store, folder_of_retirement(version)):
        if trusted is not None and trusted.refusal([signed], datetime.now(UTC).date()):
            continue
        if (told := _retired(version, signed)) and write_retirement(store, version, told):
            yield name
            return


def restore_statements(registry: Registry, version: Version) -> Iterator[str]:
    """Write what is stated of a version and of the runs beneath it where it is gone or changed; yields
    names."""
    store = registry.store
    graph = trace(store, version)
    records = graph.records | pushes(store, version)
    told = {
        folder_of_run(digest): partial(statement_of_run, digest, record)
        for digest, record in records.items()
        if record.is_stated
    }
    if version.records is not None:
        told[folder_of(version)] = partial(statement_of, graph, version)
    for folder, statement in told.items():
        payload = statement()
        name = statement_name(folder, payload)
        if not store.exists(name) or store.get(name) != payload:
            store.put(name, payload)
            yield name


def _retired(version: Version, signed: Signed) -> Retirement | None:
    """The retirement that an envelope is of; None where it is of another version."""
    try:
        told = dict(read_json(signed.payload)["predicate"])
        if (told.pop("model"), told.pop("version")) != (version.name, version.version):
            return None
        return Retirement.model_validate({**told, "envelope": signed.envelope.to_dict()})
    except (KeyError, TypeError, ValueError, ValidationError, FlowmapError):
        return None


def _said(model: str, alias: str, number: int, signed: Signed) -> Move | None:
    """The move that an envelope is of; None where it is of another."""
    try:
        told = dict(read_json(signed.payload)["predicate"])
        if (told.pop("model"), told.pop("alias"), told.pop("number")) != (model, alias, number):
            return None
        return Move.model_validate({**told, "envelope": signed.envelope.to_dict()})
    except (KeyError, TypeError, ValueError, ValidationError, FlowmapError):
        return None
