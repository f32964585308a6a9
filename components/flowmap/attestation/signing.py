"""Statements in envelopes that a key has signed (DSSE), kept beside the version.

    attest(store, version, signer_of("key.pem"))      # models/<name>/<version>/statements/<key id>.json
    for signed in envelopes(store, version):
        is_signed_by(signed, read_public_key(Path("key.pub")))

Keys are made by whatever makes keys: `openssl genpkey -algorithm ed25519 -out key.pem`, and of it
`openssl pkey -in key.pem -pubout -out key.pub`.

Source: DSSE (github.com/secure-systems-lab/dsse).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, Signer, SSlibKey

from flowmap.artifacts.digest import canonical_json
from flowmap.artifacts.store import ObjectStore
from flowmap.attestation.statement import PAYLOAD_TYPE, statement_of
from flowmap.audit.graph import trace
from flowmap.errors import ConfigError, IntegrityError
from flowmap.registry import Version

_PEM = "-----BEGIN"


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


def signer_of(source: str) -> Signer:
    """A private key without a password: Ed25519, ECDSA or RSA.

    Args:
        source: a PEM file, or its text, as a secret of Kubernetes gives it.

    Raises ConfigError where it can't be read.
    """
    is_text = source.lstrip().startswith(_PEM)
    name = "from the environment" if is_text else str(Path(source).expanduser())
    try:
        pem = source.encode() if is_text else Path(source).expanduser().read_bytes()
        return CryptoSigner(load_pem_private_key(pem, password=None))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"signing key {name}: can't be read: {str(error).splitlines()[0]}") from None


def read_public_key(path: Path) -> SSlibKey:
    """Raises ConfigError where it is none in PEM."""
    try:
        return SSlibKey.from_crypto(load_pem_public_key(path.expanduser().read_bytes()))
    except (OSError, ValueError) as error:
        raise ConfigError(f"public key {path}: can't be read: {str(error).splitlines()[0]}") from None


def attest(store: ObjectStore, version: Version, signer: Signer) -> str:
    """Sign a version's statement, once for each key; returns the object's name."""
    envelope = Envelope(statement_of(trace(store, version), version), PAYLOAD_TYPE, {})
    signature = envelope.sign(signer)
    name = f"{_folder(version)}/{signature.keyid}.json"
    store.create(name, canonical_json(envelope.to_dict()))
    return name


def envelopes(store: ObjectStore, version: Version) -> Iterator[Signed]:
    """Every signed statement of a version. Raises IntegrityError where one can't be read."""
    for name in store.names(_folder(version)):
        try:
            envelope = Envelope.from_dict(json.loads(store.get(name)))
        except (KeyError, ValueError, TypeError) as error:
            raise IntegrityError(f"{name} is no envelope: {error}") from None
        yield Signed(name, envelope.payload, tuple(envelope.signatures), envelope)


def is_signed_by(signed: Signed, key: SSlibKey) -> bool:
    """Whether that key signed these bytes as a statement."""
    if signed.envelope.payload_type != PAYLOAD_TYPE:
        return False
    try:
        signed.envelope.verify([key], threshold=1)
    except VerificationError:
        return False
    return True


def _folder(version: Version) -> str:
    return f"models/{version.name}/{version.version}/statements"
