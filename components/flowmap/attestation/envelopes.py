"""Statements in envelopes that a key has signed (DSSE), kept in the store beside what they are of.

    name = seal(store, "models/digits/2/statements", payload, signer)      # <folder>/<key id>.json
    for signed in envelopes(store, "models/digits/2/statements"):
        is_signed_by(signed, key)

Source: DSSE (github.com/secure-systems-lab/dsse).
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import Signer, SSlibKey

from flowmap.artifacts.digest import canonical_json
from flowmap.artifacts.store import ObjectStore
from flowmap.errors import IntegrityError
from flowmap.json_text import read_json
from flowmap.lineage.statement import is_statement

PAYLOAD_TYPE = "application/vnd.in-toto+json"


@dataclass(frozen=True)
class Signed:
    """A statement in its envelope.

    Attributes:
        name: of the object in the store.
        payload: the statement's bytes.
        key_ids: of those who signed.
        envelope: securesystemslib's own.
    """

    name: str
    payload: bytes
    key_ids: tuple[str, ...]
    envelope: Any


def sealed(payload: bytes, signer: Signer) -> dict[str, Any]:
    """A statement, signed, as an envelope is written."""
    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    envelope.sign(signer)
    told: dict[str, Any] = envelope.to_dict()
    return told


def seal(store: ObjectStore, folder: str, payload: bytes, signer: Signer) -> str:
    """Sign a statement and keep it, once for each key; returns the object's name."""
    name = f"{folder}/{signer.public_key.keyid}.json"
    store.create(name, canonical_json(sealed(payload, signer)))
    return name


def opened(name: str, told: Any) -> Signed:
    """An envelope as it was written. Raises IntegrityError where it is none."""
    try:
        envelope = Envelope.from_dict(deepcopy(told))  # it takes apart what it is given
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{name} is no envelope: {error}") from None
    return Signed(name, envelope.payload, tuple(envelope.signatures), envelope)


def envelopes(store: ObjectStore, folder: str) -> Iterator[Signed]:
    """Every signed statement there. Raises IntegrityError where one can't be read."""
    for name in store.names(folder):
        if is_statement(name):
            continue
        try:
            told = read_json(store.get(name))
        except (KeyError, ValueError) as error:
            raise IntegrityError(f"{name} is no envelope: {error}") from None
        yield opened(name, told)


def is_signed_by(signed: Signed, key: SSlibKey) -> bool:
    """Whether that key signed these bytes as a statement."""
    if signed.envelope.payload_type != PAYLOAD_TYPE:
        return False
    try:
        signed.envelope.verify([key], threshold=1)
    except VerificationError:
        return False
    return True
