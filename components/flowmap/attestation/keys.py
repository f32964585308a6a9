"""Keys that sign: read, and made.

    signer_of("key.pem")                           # or the text itself, as a Secret gives it
    read_public_key(Path("key.pub"))
    private, public = new_key_pair(Path("keys"), "ours")

Any tool's keys will do: Ed25519, ECDSA or RSA in PEM, without a password.
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, Signer, SSlibKey

from flowmap.errors import ConfigError

_PEM = "-----BEGIN"


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


def new_key_pair(folder: Path, name: str) -> tuple[Path, Path]:
    """Make an ECDSA key on P-256, `<name>.pem` for its owner alone and `<name>.pub` for everybody; their
    paths. It is what tools that verify models take.

    Raises ConfigError where one of them is there already: a key that is written over is lost.
    """
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    for path in (private, public):
        if path.exists():
            raise ConfigError(f"{path} exists: a key is never written over; choose another --name or --out")
    folder.mkdir(parents=True, exist_ok=True)
    key = generate_private_key(SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with os.fdopen(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public
