"""Whether signed statements of a version say what is true, and who signed them."""

from __future__ import annotations

from securesystemslib.signer import SSlibKey

from flowmap.artifacts.store import ObjectStore
from flowmap.attestation.signing import Signed, envelopes, is_signed_by
from flowmap.attestation.statement import differences, statement_of
from flowmap.audit.checking import Audit
from flowmap.audit.graph import trace
from flowmap.errors import IntegrityError
from flowmap.registry import Version


def check_statements(store: ObjectStore, version: Version, key: SSlibKey | None, audit: Audit) -> int:
    """Add to an audit what is wrong with a version's statements; returns how many there are.

    Args:
        key: one of them has to be signed by it; None asks for no signature, and notes that none was checked.
    """
    try:
        found = list(envelopes(store, version))
        expected = statement_of(trace(store, version), version) if found else b"{}"
    except (IntegrityError, ValueError) as error:
        audit.add(f"models/{version.name}/{version.version}/statements", str(error).splitlines()[0])
        return 0
    for signed in found:
        _check(signed, expected, key, audit)
    if key is not None and not any(is_signed_by(signed, key) for signed in found):
        there = ", ".join(each[:12] for signed in found for each in signed.key_ids) or "nobody"
        audit.add(
            f"models/{version.name}/{version.version}/statements",
            f"key {key.keyid[:12]} has signed none of them; {there} did",
        )
    return len(found)


def _check(signed: Signed, expected: bytes, key: SSlibKey | None, audit: Audit) -> None:
    try:
        for told in differences(signed.payload, expected):
            audit.add(signed.name, told)
    except ValueError as error:
        audit.add(signed.name, f"its payload is no statement: {str(error).splitlines()[0]}")
    if key is None:
        audit.notes.append(f"{signed.name}: its signature was not checked; --key names a public key")
    elif key.keyid in signed.key_ids and not is_signed_by(signed, key):
        audit.add(signed.name, f"the signature of key {key.keyid[:12]} is not of these bytes")
