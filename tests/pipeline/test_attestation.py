"""Signed statements of a real run's versions: true as they are, and every way to make them lie is found."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from securesystemslib.dsse import Envelope

from flowmap.artifacts.local_store import LocalStore
from flowmap.attestation.checking import check_statements
from flowmap.attestation.envelopes import PAYLOAD_TYPE, envelopes, is_signed_by
from flowmap.attestation.keys import read_public_key, signer_of
from flowmap.attestation.signing import attest, folder_of
from flowmap.attestation.statement import statement_of
from flowmap.attestation.trust import read_trusted
from flowmap.audit.faults import Audit
from flowmap.audit.graph import trace
from flowmap.errors import ConfigError
from flowmap.registry import Registry, Version
from flowmap.registry_push.step import _sign
from flowmap.settings import environment
from tests.cli import flowmap as cli
from tests.pipeline.runs import Finished


def write_key(
    folder: Path, name: str = "key", make: Callable[[], Any] = ed25519.Ed25519PrivateKey.generate
) -> Path:
    """A private key beside its public one, `<name>.pem` and `<name>.pub`."""
    private = make()
    path = folder / f"{name}.pem"
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    path.with_suffix(".pub").write_bytes(public)
    return path


@pytest.fixture
def store(root: Path, first: Finished, tmp_path: Path) -> LocalStore:
    """A copy, for statements are written once."""
    shutil.copytree(root / "store", tmp_path / "root" / "store")
    return LocalStore(tmp_path / "root" / "store")


def version_of(store: LocalStore, reference: str = "2") -> Version:
    return Registry(store, "tiny").resolve(reference)


def checked(store: LocalStore, key: Path | None, reference: str = "2") -> Audit:
    audit = Audit()
    public = None if key is None else read_trusted(key.with_suffix(".pub"))
    check_statements(store, version_of(store, reference), public, audit)
    return audit


def told(audit: Audit) -> str:
    return "\n".join(f"{fault.name} {fault.told}" for fault in audit.faults)


@pytest.mark.parametrize(
    "make", [ed25519.Ed25519PrivateKey.generate, lambda: ec.generate_private_key(ec.SECP256R1())]
)
def test_a_statement_says_what_a_version_is_and_was_made_of(
    store: LocalStore, first: Finished, tmp_path: Path, make: Callable[[], Any]
) -> None:
    key, version = write_key(tmp_path, make=make), version_of(store)
    written = attest(store, version, signer_of(str(key)))
    assert not checked(store, key).faults
    (signed,) = envelopes(store, folder_of(version))
    assert signed.name == written[-1]
    assert is_signed_by(signed, read_public_key(key.with_suffix(".pub")))
    statement = json.loads(signed.payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert {each["name"]: each["digest"]["sha256"] for each in statement["subject"]} == {
        entry.path: entry.sha256 for entry in version.manifest.files
    }
    build = statement["predicate"]["buildDefinition"]
    assert build["externalParameters"]["configuration"]["evaluation"]["resamples"] == 50
    made = first.digests()
    beneath = {each["name"]: each["digest"]["sha256"] for each in build["resolvedDependencies"]}
    for step in ("data_prep", "base_training", "reward_training", "grpo_finetuning"):
        assert beneath[step] == made[step]
    assert store.exists(f"lineage/sources/{beneath['code']}.zip")
    assert store.exists(f"lineage/sources/{beneath['environment']}.txt")
    assert set(build["internalParameters"]) >= {"data_prep", "grpo_finetuning", "evaluation"}
    run = statement["predicate"]["runDetails"]
    assert run["byproducts"][0]["digest"]["sha256"] == made["evaluation"]
    assert run["metadata"]["invocationId"]
    assert statement_of(trace(store, version), version) == signed.payload  # whenever it is asked for


def test_each_key_signs_for_itself_and_a_stranger_s_is_told(store: LocalStore, tmp_path: Path) -> None:
    ours, theirs = write_key(tmp_path, "ours"), write_key(tmp_path, "theirs")
    folder = folder_of(version_of(store))
    assert "nobody signed it" in told(checked(store, ours))
    attest(store, version_of(store), signer_of(str(theirs)))
    assert "is none of the trusted keys" in told(checked(store, ours))
    attest(store, version_of(store), signer_of(str(ours)))
    assert not attest(store, version_of(store), signer_of(str(ours)))  # again: nothing is written
    assert len(list(envelopes(store, folder))) == 2
    assert not checked(store, ours).faults
    unasked = checked(store, None)
    assert not unasked.faults
    assert "whose they are was not checked" in unasked.notes[0]


def test_a_byte_of_an_envelope_that_changed_is_found(store: LocalStore, tmp_path: Path) -> None:
    key = write_key(tmp_path)
    file = store.root / attest(store, version_of(store), signer_of(str(key)))[-1]
    whole = file.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 60)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert checked(store, key).faults, (place, whole[max(0, place - 20) : place + 20])
    file.unlink()
    assert "nobody signed it" in told(checked(store, key))


def test_another_statement_that_is_validly_signed_is_found(store: LocalStore, tmp_path: Path) -> None:
    key, signer = write_key(tmp_path), signer_of(str(write_key(tmp_path)))
    base, tuned = version_of(store, "1"), version_of(store)
    file = store.root / attest(store, tuned, signer)[-1]
    other = store.root / attest(store, base, signer)[-1]
    file.write_bytes(other.read_bytes())
    found = told(checked(store, key))
    assert "externalParameters.model is" in found
    assert "tiny@1" in found
    statement = json.loads(statement_of(trace(store, tuned), tuned))
    statement["predicate"]["buildDefinition"]["externalParameters"]["configuration"]["evaluation"][
        "resamples"
    ] = 51
    envelope = Envelope(json.dumps(statement).encode(), PAYLOAD_TYPE, {})
    envelope.sign(signer)
    file.write_text(json.dumps(envelope.to_dict()))
    found = told(checked(store, key))
    assert "configuration.evaluation.resamples is 51, and 50 was expected" in found
    letter = Envelope(statement_of(trace(store, tuned), tuned), "text/plain", {})
    letter.sign(signer)
    file.write_text(json.dumps(letter.to_dict()))
    assert "is not of these bytes" in told(checked(store, key))


def test_what_is_published_is_signed_where_there_is_a_key(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context: Any = SimpleNamespace(store=store)
    _sign(context, version_of(store))
    assert not list(envelopes(store, folder_of(version_of(store))))
    key = write_key(tmp_path)
    monkeypatch.setenv(environment.SIGNING_KEY, str(key))
    _sign(context, version_of(store))
    assert not checked(store, key).faults


def test_the_commands(store: LocalStore, tmp_path: Path) -> None:
    key, root = write_key(tmp_path), ("--root", str(tmp_path / "root"))
    public = ("--key", str(key.with_suffix(".pub")))
    unsigned = cli("lineage", "verify", "tiny@2", *public, *root)
    assert unsigned.returncode == 1
    assert "nobody signed it" in unsigned.stdout
    done = cli("lineage", "attest", "tiny@2", "--key", str(key), *root)
    assert done.returncode == 0, done.stderr
    assert "signed tiny@2 with key" in done.stdout
    whole = cli("lineage", "verify", "tiny@2", *public, *root)
    assert whole.returncode == 0, whole.stdout
    assert "signatures: all whole" in whole.stdout
    (signed,) = envelopes(store, "models/tiny/2/statements")
    payload = json.loads(signed.payload)
    assert payload["subject"]


def test_a_key_may_come_as_text(tmp_path: Path) -> None:
    key = write_key(tmp_path)
    by_file, by_text = signer_of(str(key)), signer_of(key.read_text())
    assert by_file.public_key.keyid == by_text.public_key.keyid
    with pytest.raises(ConfigError, match=r"^signing key from the environment: can't be read"):
        signer_of("-----BEGIN PRIVATE KEY-----\nnone\n-----END PRIVATE KEY-----")


def test_what_is_no_key_is_told(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("no key")
    with pytest.raises(ConfigError, match=r"signing key .*key.pem: can't be read"):
        signer_of(str(tmp_path / "key.pem"))
    with pytest.raises(ConfigError, match=r"public key .*: can't be read"):
        read_public_key(tmp_path / "key.pem")
    with pytest.raises(ConfigError, match=r"signing key .*gone.pem: can't be read"):
        signer_of(str(tmp_path / "gone.pem"))
