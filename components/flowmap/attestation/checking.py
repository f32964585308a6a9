"""Whether signed statements say what is true, and whether whoever signed them is trusted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

from flowmap.artifacts.store import ObjectStore, read_there
from flowmap.attestation.envelopes import Signed, envelopes, opened
from flowmap.attestation.model_signature import folder_of_signatures, read_signature, statement_of_files
from flowmap.attestation.signing import (
    folder_of,
    moves_are_signed,
    moves_to,
    signatures_of_move,
    signatures_of_retirement,
)
from flowmap.attestation.statement import statement_of, statement_of_move, statement_of_retirement
from flowmap.attestation.trust import TrustedKeys
from flowmap.audit.faults import Audit
from flowmap.audit.graph import Graph, trace
from flowmap.audit.registry_checks import pushes
from flowmap.errors import FlowmapError, IntegrityError
from flowmap.lineage.formats import differences
from flowmap.lineage.statement import folder_of_run, is_statement, statement_name, statement_of_run
from flowmap.registry import Registry, Version
from flowmap.registry.retiring import folder_of_retirement, retirement_of


def check_statements(store: ObjectStore, version: Version, keys: TrustedKeys | None, audit: Audit) -> int:
    """Add to an audit what is wrong with what is stated of a version, of the runs beneath and of the moves
    to it; returns how many signatures there are.

    Args:
        keys: one of them has to have signed the version's statement; and, once any move of that name's
            aliases is signed, that of each alias's last move where it leads here. None asks for no
            signature, and notes that none was checked.
    """
    spoilt = Audit()
    graph = trace(store, version, spoilt.add)
    if spoilt.faults:
        for fault in spoilt.faults:
            audit.add(fault.name, fault.told)
        audit.notes.append(
            f"what is stated of {version.name}@{version.version} was not compared: it says what the damaged "
            "records said"
        )
        return 0
    registry = Registry(store, version.name)
    check = _Check(store, keys, audit, datetime.now(UTC).date())
    check.look(folder_of(version), lambda: statement_of(graph, version), is_asked=True)
    try:
        _look_at_moves(check, registry, version)
    except IntegrityError as error:
        audit.add(f"models/{version.name}/moves", str(error))
    _look_at_retirement(check, version)
    _look_at_runs(check, graph, version)
    told = partial(statement_of, graph, version)
    is_published = version.documents is not None and _was_promoted(registry, version)
    _look_at_plain(check, folder_of(version), told, is_asked=is_published)
    signatures = folder_of_signatures(version)
    check.look(
        signatures,
        partial(statement_of_files, version),
        lambda: [read_signature(store, name) for name in store.names(signatures)],
        is_asked=is_published,
    )
    if keys is None and check.num:
        audit.notes.append(
            f"there are {check.num} signatures, whose they are was not checked: --key names a public key, "
            "--trusted a file of several"
        )
    return check.num


def _was_promoted(registry: Registry, version: Version) -> bool:
    """Of a version that no alias ever led to, the publisher was killed: its run, again, goes on with it."""
    try:
        return registry.was_promoted(version)
    except IntegrityError:  # a move is gone, which is told
        return True


def _look_at_moves(check: _Check, registry: Registry, version: Version) -> None:
    last = {alias: registry.moved.num(alias) for alias in registry.aliases()}
    has_begun = moves_are_signed(registry)
    for alias, number, move in moves_to(registry, version):
        check.look(
            registry.moved.folder(alias, number),
            partial(statement_of_move, registry, alias, number, move),
            partial(signatures_of_move, registry, alias, number, move),
            is_asked=has_begun and number == last[alias],
        )
        _look_for_copies(check, registry.moved.folder(alias, number), move.envelope)
    if check.keys is not None and not has_begun and any(last.values()):
        check.audit.notes.append(
            f"no move of an alias of {version.name} is signed, as an older flowmap left them: "
            "`flowmap lineage attest` signs those to a version"
        )


def _look_at_retirement(check: _Check, version: Version) -> None:
    """Who signed that a version is used no more. One that nobody signed counts all the same: it takes
    nothing but a version out of use."""
    with contextlib.suppress(IntegrityError):  # which `check` tells
        if told := retirement_of(check.store, version):
            check.look(
                folder_of_retirement(version),
                partial(statement_of_retirement, version, told),
                partial(signatures_of_retirement, check.store, version, told),
                is_asked=told.envelope is not None,
            )
            _look_for_copies(check, folder_of_retirement(version), told.envelope)


def _look_for_copies(check: _Check, folder: str, envelope: dict[str, Any] | None) -> None:
    """Of the signature that is in a move or a retirement: without one what is gone would leave no trace."""
    for key_id in () if envelope is None else opened(f"{folder}.json", envelope).key_ids:
        name = f"{folder}/{key_id}.json"
        if not check.store.exists(name):
            check.audit.notes.append(
                f"{name}, the copy of a signature, is gone: a run that was killed leaves that, and "
                "`flowmap lineage attest` writes it again"
            )


def _look_at_runs(check: _Check, graph: Graph, version: Version) -> None:
    """What each step's run stated of itself. Who signs a version signs what the runs beneath it did: where
    there is such a statement, there is one of each run that made something."""
    made = {digest for node in graph.nodes.values() for digest in list(node.records)[:1]}
    has_begun = any(
        not is_statement(name) for digest in made for name in check.store.names(folder_of_run(digest))
    )
    for digest, record in graph.records.items():
        told = partial(statement_of_run, digest, record)
        check.look(folder_of_run(digest), told, is_asked=has_begun and digest in made)
        _look_at_plain(check, folder_of_run(digest), told, is_asked=record.is_stated)
    with contextlib.suppress(IntegrityError, ValueError):  # which `check` tells
        for digest, record in pushes(check.store, version).items():
            told = partial(statement_of_run, digest, record)
            _look_at_plain(check, folder_of_run(digest), told, is_asked=record.is_stated)


def _look_at_plain(check: _Check, folder: str, statement: Callable[[], bytes], *, is_asked: bool) -> None:
    """At a statement as such, which lies there whether anybody signed it or not.

    Args: is_asked: whether it has to be there: of what an older flowmap made there is none.
    """
    found = [name for name in check.store.names(folder) if is_statement(name)]
    if not found and not is_asked:
        return
    try:
        expected = statement()
    except (FlowmapError, ValueError) as error:
        check.audit.add(folder, str(error).splitlines()[0])
        return
    right = statement_name(folder, expected)
    if is_asked and right not in found:
        check.audit.add(right, "is missing, and `flowmap lineage mend` writes it again")
    check.audit.num_statements += len(found)
    for name in found:
        try:
            is_right = name == right and read_there(check.store, name) == expected
        except IntegrityError as error:
            check.audit.add(name, str(error))
        else:
            if not is_right:
                check.audit.add(name, "is not what is stated there")


def refusal_of(store: ObjectStore, version: Version, keys: TrustedKeys) -> str | None:
    """Why a version may not be used by those who trust these keys alone; None where it may.

    Its statement is made anew from the store, and one of the keys has to have signed just that. What lies
    beneath is not read: `flowmap lineage verify` does that.
    """
    return _refusal(
        partial(envelopes, store, folder_of(version)),
        lambda: statement_of(trace(store, version), version),
        keys,
    )


def refusal_of_alias(registry: Registry, alias: str, version: Version, keys: TrustedKeys) -> str | None:
    """Why those who trust these keys alone may not follow an alias to a version; None where they may, and
    where no move of that name's aliases was ever signed, as an older flowmap left them.

    It goes by the alias's last move, whose statement is made anew in the same way.
    """
    if not moves_are_signed(registry):
        return None
    moves = registry.moves(alias)
    if not moves:
        return "an older flowmap set it, and no move of it is on record"
    if moves[-1].version != version.version:
        return f"by now it leads to version {moves[-1].version}"
    at = (registry, alias, len(moves), moves[-1])
    return _refusal(partial(signatures_of_move, *at), partial(statement_of_move, *at), keys)


def _refusal(
    signatures: Callable[[], Iterable[Signed]], statement: Callable[[], bytes], keys: TrustedKeys
) -> str | None:
    try:
        expected = statement()
        signed = [each for each in signatures() if each.payload == expected]
    except (FlowmapError, ValueError) as error:
        return str(error).splitlines()[0]
    return keys.refusal(signed, datetime.now(UTC).date())


@dataclass
class _Check:
    """One look at the statements of a version; `num` counts them."""

    store: ObjectStore
    keys: TrustedKeys | None
    audit: Audit
    today: date
    num: int = 0

    def look(
        self,
        folder: str,
        statement: Callable[[], bytes],
        signatures: Callable[[], Iterable[Signed]] | None = None,
        *,
        is_asked: bool,
    ) -> None:
        """At all envelopes of a statement.

        Args:
            folder: where they lie.
            signatures: reads them; those of the folder unless told.
            is_asked: whether one that is trusted has to be among them, where there are keys.
        """
        try:
            found = list(envelopes(self.store, folder) if signatures is None else signatures())
            expected = statement() if found else b"{}"
        except (FlowmapError, ValueError) as error:
            self.audit.add(folder, str(error).splitlines()[0])
            return
        for signed in found:
            self._compare(signed, expected)
        self.num += len(found)
        if self.keys is not None and is_asked and (why := self.keys.refusal(found, self.today)):
            self.audit.add(folder, f"has no signature that is trusted: {why}")

    def _compare(self, signed: Signed, expected: bytes) -> None:
        try:
            told = list(differences(signed.payload, expected))
            for each in told:
                self.audit.add(signed.name, each)
            if not told and signed.payload != expected:
                self.audit.add(signed.name, "says what is true in other bytes than are written here")
        except ValueError as error:
            self.audit.add(signed.name, f"its payload is no statement: {str(error).splitlines()[0]}")
        for key_id in self.keys.forged(signed) if self.keys is not None else []:
            self.audit.add(signed.name, f"the signature of key {key_id[:12]} is not of these bytes")
