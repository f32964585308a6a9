"""A signature over what is published of a version, in the form that others verify models by: a Sigstore
bundle as OpenSSF model signing has it, offline and by a key of one's own.

    sign_files(store, version, signer)      # models/<name>/<version>/signatures/<key id>.sigstore.json
    read_signature(store, name)             # its statement, in its envelope
    sign_folder("digits@3", folder, signer) # what was made of a version for others: folder/model.sig

In an exported folder it is `model.sig`: `model_signing verify key FOLDER --signature FOLDER/model.sig
--public_key ours.pub` needs neither flowmap nor the store. That program takes ECDSA keys on NIST's curves,
as `flowmap keys new` makes them.

Source: github.com/sigstore/model-transparency, predicate v1.0; Sigstore bundle v0.3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from securesystemslib.signer import Signer, SSlibKey
from sigstore_models.bundle.v1 import Bundle

from flowmap.artifacts.digest import canonical_json
from flowmap.artifacts.manifest import FileEntry, build_manifest
from flowmap.artifacts.store import ObjectStore, read_there
from flowmap.attestation.envelopes import Signed, opened, sealed
from flowmap.attestation.trust import TrustedKeys
from flowmap.errors import IntegrityError
from flowmap.json_text import read_json
from flowmap.lineage.formats import resource, statement
from flowmap.progress import say
from flowmap.registry import Version

SIGNATURE = "model.sig"
_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PREDICATE = "https://model_signing/signature/v1.0"
_SUFFIX = ".sigstore.json"


def folder_of_signatures(version: Version) -> str:
    """Where signatures over a version's files lie."""
    return f"models/{version.name}/{version.version}/signatures"


def signature_name(version: Version, key_id: str) -> str:
    """What that by one key is called."""
    return f"{folder_of_signatures(version)}/{key_id}{_SUFFIX}"


def statement_of_files(version: Version) -> bytes:
    """Each published file and document with its digest; the subject is the digest of all digests."""
    published = [each for each in (version.manifest, version.documents) if each is not None]
    return _statement(version.name, [entry for each in published for entry in each.files])


def _statement(name: str, files: Iterable[FileEntry]) -> bytes:
    entries = sorted((entry.path, entry.sha256) for entry in files)
    whole = hashlib.sha256(b"".join(bytes.fromhex(digest) for _, digest in entries)).hexdigest()
    predicate = {
        "serialization": {
            "method": "files",
            "hash_type": "sha256",
            "allow_symlinks": False,
            "ignore_paths": [SIGNATURE],
        },
        "resources": [{"name": path, "algorithm": "sha256", "digest": digest} for path, digest in entries],
    }
    return statement([resource(name, whole)], _PREDICATE, predicate)


def sign_files(store: ObjectStore, version: Version, signer: Signer) -> str | None:
    """Sign the published files and documents, once for each key; the object's name if that was now.

    Nothing is read: they are signed by the digests that the version has for them.
    """
    name = signature_name(version, signer.public_key.keyid)
    if store.exists(name):
        return None
    return name if store.create(name, _bundle(statement_of_files(version), signer)) else None


def sign_folder(name: str, folder: Path, signer: Signer) -> None:
    """Leave a signature over all files of a folder in it, as `model.sig`; say so where OpenSSF's program
    does not take such a key.

    Args: name: of what they are, such as `digits@3`.
    """
    if signer.public_key.keytype != "ecdsa":
        say(
            f"{SIGNATURE}: the key is one of {signer.public_key.keytype}, which flowmap takes and OpenSSF's "
            "model_signing does not: `flowmap keys new` makes one that it takes"
        )
    files = build_manifest(folder, step="export", step_digest="").files
    (folder / SIGNATURE).write_bytes(_bundle(_statement(name, files), signer))


def _bundle(payload: bytes, signer: Signer) -> bytes:
    told = {
        "mediaType": _MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": _hint(signer.public_key)}, "tlogEntries": []},
        "dsseEnvelope": sealed(payload, signer),
    }
    Bundle.from_dict(told)
    return canonical_json(told)


def signature_for_others(
    store: ObjectStore, version: Version, trusted: TrustedKeys | None = None
) -> str | None:
    """The name of the signature that goes with an export: by a key that is trusted today, where keys are
    named; before others one that OpenSSF's program takes; of those the newest. None where there is none.
    """
    there = sorted(store.listed(folder_of_signatures(version)), key=lambda each: (each.modified, each.name))
    found = []
    for each in reversed(there):
        try:
            signed = read_signature(store, each.name)
        except IntegrityError:  # which `verify` names
            continue
        if trusted is None or trusted.refusal([signed], datetime.now(UTC).date()) is None:
            found.append((each.name, _is_ecdsa(signed)))
    return next((name for name, usable in found if usable), found[0][0] if found else None)


def _is_ecdsa(signed: Signed) -> bool:
    """Whether a signature is two numbers in DER, as those on NIST's curves are."""
    try:
        for each in signed.envelope.signatures.values():
            decode_dss_signature(bytes.fromhex(each.signature))
    except ValueError:
        return False
    return True


def read_signature(store: ObjectStore, name: str) -> Signed:
    """Raises IntegrityError where it is gone, or is none any more."""
    try:
        told = read_json(read_there(store, name))
        if canonical_json(told) != store.get(name) or told["mediaType"] != _MEDIA_TYPE:
            raise ValueError("not as it was written")
        Bundle.from_dict(told)
        return opened(name, told["dsseEnvelope"])
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{name} is no Sigstore bundle: {str(error).splitlines()[0]}") from None


def _hint(key: SSlibKey) -> str:
    """By which a verifier knows the key: the SHA-256 of its PEM."""
    return hashlib.sha256(key.keyval["public"].encode()).hexdigest()
