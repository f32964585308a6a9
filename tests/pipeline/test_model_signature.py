"""What is published is signed as OpenSSF's model signing has it, and its own program says so."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from flowmap.artifacts.local_store import LocalStore
from flowmap.attestation.keys import new_key_pair, signer_of
from flowmap.attestation.model_signature import (
    SIGNATURE,
    read_signature,
    sign_files,
    sign_folder,
    signature_for_others,
    signature_name,
)
from flowmap.attestation.trust import read_trusted
from flowmap.errors import IntegrityError
from flowmap.registry import Registry, Version
from flowmap_pipelines.exporting import FILES, export_model
from tests.cli import flowmap


@pytest.fixture(scope="module")
def store(root: Path) -> LocalStore:
    return LocalStore(root / "store")


@pytest.fixture(scope="module")
def version(store: LocalStore) -> Version:
    return Registry(store, "tiny").resolve("2")


def checked(folder: Path, public: Path) -> subprocess.CompletedProcess[str]:
    """What OpenSSF's program says of a folder."""
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(folder)]
    given = ["--signature", str(folder / SIGNATURE), "--public_key", str(public)]
    return subprocess.run([*command, *given], capture_output=True, text=True, timeout=120)


def test_a_stranger_verifies_an_exported_folder_without_flowmap(
    store: LocalStore, version: Version, tmp_path: Path
) -> None:
    private, public = new_key_pair(tmp_path, "ours")
    assert sign_files(store, version, signer_of(str(private))) is not None
    assert sign_files(store, version, signer_of(str(private))) is None
    folder = tmp_path / "tiny"
    export_model(store, version, folder, FILES)
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert names == {"README.md", "bom.cdx.json", "ema.safetensors", "model.json", "samples.png", SIGNATURE}
    done = checked(folder, public)
    assert done.returncode == 0, done.stdout + done.stderr
    weights = folder / "ema.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert checked(folder, public).returncode != 0
    weights.write_bytes(whole)
    (folder / "extra.py").write_text("import os")
    assert checked(folder, public).returncode != 0
    (folder / "extra.py").unlink()
    _, other = new_key_pair(tmp_path, "other")
    assert checked(folder, other).returncode != 0


def test_what_was_made_of_a_version_is_signed_by_who_made_it(
    store: LocalStore, version: Version, root: Path, tmp_path: Path
) -> None:
    private, public = new_key_pair(tmp_path, "ours")
    folder = tmp_path / "served"
    command = ("models", "export", "tiny@2", str(folder), "--format", "kserve", "--root", str(root))
    done = flowmap(*command, environment={"FLOWMAP_SIGNING_KEY": str(private)})
    assert done.returncode == 0, done.stderr
    assert "model.sig" in done.stdout
    assert checked(folder, public).returncode == 0
    payload = json.loads((folder / SIGNATURE).read_bytes())["dsseEnvelope"]["payload"]
    assert json.loads(base64.b64decode(payload))["subject"][0]["name"] == "tiny@2"
    graph = folder / "sampler.onnx"
    graph.write_bytes(graph.read_bytes() + b"0")
    assert checked(folder, public).returncode != 0
    no_key = flowmap(*command[:3], str(tmp_path / "other"), *command[4:], "--key", str(public))
    assert no_key.returncode == 2
    assert not (tmp_path / "other").exists()


def test_a_folder_with_folders_is_signed_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    private, public = new_key_pair(tmp_path, "ours")
    inner = tmp_path / "page" / "runtime" / "deep"
    inner.mkdir(parents=True)
    for folder in (tmp_path / "page", inner):
        (folder / "b.txt").write_text("b")
    sign_folder("tiny@2", tmp_path / "page", signer_of(str(private)))
    assert capsys.readouterr().err == ""
    assert checked(tmp_path / "page", public).returncode == 0
    (inner / "b.txt").write_text("c")
    assert checked(tmp_path / "page", public).returncode != 0
    edwards = ed25519.Ed25519PrivateKey.generate()
    pem = edwards.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    sign_folder("tiny@2", inner, signer_of(pem))
    assert "the key is one of ed25519, which flowmap takes and" in capsys.readouterr().err


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_curves_that_it_knows(
    store: LocalStore, version: Version, tmp_path: Path, curve: ec.EllipticCurve
) -> None:
    key = ec.generate_private_key(curve)
    (tmp_path / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "key.pub").write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    signer = signer_of(str(tmp_path / "key.pem"))
    sign_files(store, version, signer)
    folder = tmp_path / "tiny"
    export_model(store, version, folder, FILES)
    (folder / SIGNATURE).write_bytes(store.get(signature_name(version, signer.public_key.keyid)))
    done = checked(folder, tmp_path / "key.pub")
    assert done.returncode == 0, done.stdout + done.stderr


def test_other_keys_sign_too(store: LocalStore, version: Version) -> None:
    """For flowmap's own look; OpenSSF's program takes none of them."""
    key = ed25519.Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    name = sign_files(store, version, signer_of(pem))
    assert name is not None
    (key_id,) = read_signature(store, name).key_ids
    assert name.endswith(f"/{key_id}.sigstore.json")


def test_the_signature_that_goes_along_is_one_that_can_be_used(
    store: LocalStore, version: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not that of a revoked key, nor of a kind that OpenSSF's program does not take, newer as they are."""
    first, ours = new_key_pair(tmp_path, "first")
    second, lost = new_key_pair(tmp_path, "second")
    edwards = ed25519.Ed25519PrivateKey.generate()
    third = edwards.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    made = [sign_files(store, version, signer_of(str(key))) for key in (first, second, third)]
    assert signature_for_others(store, version) == made[1]  # the newest that is none of Ed25519
    keys = [{"key": ours.name}, {"key": lost.name, "revoked": "it was lost"}]
    (tmp_path / "keys.json").write_text(json.dumps({"keys": keys}))
    trusted = read_trusted(tmp_path / "keys.json")
    assert signature_for_others(store, version, trusted) == made[0]
    monkeypatch.setenv("FLOWMAP_TRUSTED_KEYS", str(tmp_path / "keys.json"))
    export_model(store, version, tmp_path / "out", FILES)
    assert (tmp_path / "out" / SIGNATURE).read_bytes() == store.get(str(made[0]))
    assert checked(tmp_path / "out", ours).returncode == 0
    (tmp_path / "keys.json").write_text(json.dumps({"keys": keys[1:]}))
    assert signature_for_others(store, version, read_trusted(tmp_path / "keys.json")) is None


@pytest.mark.parametrize("told", [b"{}", b"[]", b"none", b'{"mediaType": 3}'])
def test_what_is_no_bundle_is_told(version: Version, tmp_path: Path, told: bytes) -> None:
    there = LocalStore(tmp_path / "store")
    name = signature_name(version, "a" * 64)
    there.put(name, told)
    with pytest.raises(IntegrityError, match=r"is no Sigstore bundle"):
        read_signature(there, name)
    there.put(name, json.dumps({"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json"}).encode())
    with pytest.raises(IntegrityError, match=r"is no Sigstore bundle"):
        read_signature(there, name)
