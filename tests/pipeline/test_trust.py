"""Whom people trust, and until when: versions, the runs beneath and the moves to them, on a real run's
store."""

import json
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flowmap.artifacts.local_store import LocalStore
from flowmap.attestation.checking import check_statements, refusal_of, refusal_of_alias
from flowmap.attestation.envelopes import envelopes, seal
from flowmap.attestation.keys import new_key_pair, signer_of
from flowmap.attestation.model_signature import sign_files
from flowmap.attestation.signing import attest, folder_of
from flowmap.attestation.statement import statement_of
from flowmap.attestation.trust import read_trusted
from flowmap.audit.faults import Audit
from flowmap.audit.graph import trace
from flowmap.errors import ConfigError
from flowmap.launching.torchrun import bounded_threads
from flowmap.lineage.statement import folder_of_run
from flowmap.registry import Judged, Registry, Version
from flowmap.registry.retiring import RetiredError, retire
from flowmap.settings import environment
from flowmap.settings.run_config import load_config
from tests.cli import flowmap as cli
from tests.faults import fault
from tests.pipeline.runs import CONFIG, Finished

TODAY = datetime.now(UTC).date()


@pytest.fixture
def store(root: Path, first: Finished, tmp_path: Path) -> LocalStore:
    """A copy, for statements are written once."""
    shutil.copytree(root / "store", tmp_path / "root" / "store")
    return LocalStore(tmp_path / "root" / "store")


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with two keys, `ours` and `next`."""
    for name in ("ours", "next"):
        new_key_pair(tmp_path / "keys", name)
    return tmp_path / "keys"


def version_of(store: LocalStore) -> Version:
    return Registry(store, "tiny").resolve("2")


def sign(store: LocalStore, keys: Path, name: str = "ours") -> list[str]:
    return attest(store, version_of(store), signer_of(str(keys / f"{name}.pem")))


def trusting(keys: Path, *entries: str) -> Path:
    path = keys / "trusted.yaml"
    path.write_text("keys:\n" + "".join(f"  - {{{entry}}}\n" for entry in entries))
    return path


def judged_of(version: Version) -> dict[str, Any]:
    return {name: getattr(version, name) for name in Judged.model_fields}


def faults(store: LocalStore, trusted: Path) -> str:
    audit = Audit()
    check_statements(store, version_of(store), read_trusted(trusted), audit)
    return "\n".join(f"{fault.name} {fault.told}" for fault in audit.faults)


def test_one_signature_each_for_the_version_every_run_beneath_and_the_moves_to_it(
    store: LocalStore, keys: Path, first: Finished
) -> None:
    written = sign(store, keys)
    graph = trace(store, version_of(store))
    records = [digest for node in graph.nodes.values() for digest in node.records]
    assert {folder_of_run(digest) for digest in records} <= {name.rsplit("/", 1)[0] for name in written}
    made = first.digests()
    stated = {}
    for digest in records:
        (signed,) = envelopes(store, folder_of_run(digest))
        payload = json.loads(signed.payload)
        (subject,) = payload["subject"]
        stated[subject["name"]] = payload["predicate"]["buildDefinition"]
        assert subject["digest"]["sha256"] == made[subject["name"]]
    assert set(stated) >= {"data_prep", "base_training", "reward_training", "grpo_finetuning", "evaluation"}
    beneath = stated["grpo_finetuning"]["resolvedDependencies"]
    assert {"name": "base", "digest": {"sha256": made["base_training"]}} in beneath
    (file := keys.parent / "tiny.yaml").write_text(CONFIG)
    config = load_config(file).model_dump(mode="json")
    for definition in stated.values():
        assert definition["externalParameters"]["configuration"] == config
    assert stated["base_training"]["internalParameters"]["instructionSet"]
    # What trained has the machine's threads, and not the one of the process that waited for it.
    assert stated["grpo_finetuning"]["internalParameters"]["threads"] == bounded_threads(os.cpu_count() or 1)
    registry = Registry(store, "tiny")
    (move,) = envelopes(store, registry.moved.folder("production", 1))
    told = json.loads(move.payload)
    assert told["predicateType"] == "urn:flowmap:move:v1"
    assert told["predicate"]["alias"] == "production"
    assert told["predicate"]["who"].startswith("run ")
    assert told["subject"][0]["digest"]["sha256"] == version_of(store).manifest.digest
    assert not faults(store, keys / "ours.pub")


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (f"key: ours.pub, until: {TODAY}", None),
        (f"key: ours.pub, until: {TODAY + timedelta(days=90)}", None),
        (f"key: ours.pub, until: {TODAY - timedelta(days=1)}", f"was trusted until {TODAY - timedelta(1)}"),
        ("key: ours.pub, revoked: stolen in May", "is revoked: stolen in May"),
        ("key: next.pub", "is none of the trusted keys"),
    ],
)
def test_a_signature_counts_while_its_key_is_trusted(
    store: LocalStore, keys: Path, entry: str, why: str | None
) -> None:
    sign(store, keys)
    trusted = trusting(keys, entry)
    told, refused = faults(store, trusted), refusal_of(store, version_of(store), read_trusted(trusted))
    if why is None:
        assert not told
        assert refused is None
        return
    assert why in told
    assert refused is not None
    assert why in refused
    for place in ("models/tiny/2/statements", "models/tiny/moves/production/1"):
        assert f"{place} has no signature that is trusted" in told


def test_what_was_signed_before_a_version_was_changed_does_not_count(store: LocalStore, keys: Path) -> None:
    sign(store, keys)
    trusted, name = read_trusted(keys / "ours.pub"), "models/tiny/2/version.json"
    assert refusal_of(store, version_of(store), trusted) is None
    told = json.loads(store.get(name))
    told["manifest"]["files"][0]["sha256"] = "0" * 64
    (store.root / name).write_text(json.dumps(told))
    assert refusal_of(store, version_of(store), trusted) == "nobody signed it"


def test_keys_follow_each_other(store: LocalStore, keys: Path) -> None:
    sign(store, keys)
    ended = (f"key: ours.pub, until: {TODAY - timedelta(days=1)}", "key: next.pub")
    assert "was trusted until" in faults(store, trusting(keys, *ended))
    assert sign(store, keys, "next")  # what still counts is signed with the next one
    assert not faults(store, trusting(keys, *ended))
    assert not faults(store, trusting(keys, "key: ours.pub, revoked: lost", "key: next.pub"))


def _payloads(store: LocalStore, version: Version) -> Iterator[str]:
    graph = trace(store, version)
    yield folder_of(version)
    yield Registry(store, "tiny").moved.folder("production", 1)
    yield from (folder_of_run(digest) for node in graph.nodes.values() for digest in node.records)


@fault(
    "a statement is replaced by another that the same key signed",
    "`verify` names it",
    of="writing",
)
def test_another_statement_that_the_same_key_signed_is_found_wherever_it_lies(
    store: LocalStore, keys: Path
) -> None:
    sign(store, keys)
    folders = list(_payloads(store, version_of(store)))
    whole = {folder: next(iter(store.names(folder))) for folder in folders}
    for here, there in zip(folders, [*folders[1:], folders[0]], strict=True):
        kept = store.get(whole[here])
        (store.root / whole[here]).write_bytes(store.get(whole[there]))
        assert whole[here] in faults(store, keys / "ours.pub")
        (store.root / whole[here]).write_bytes(kept)
    assert not faults(store, keys / "ours.pub")


def test_a_move_that_somebody_made_up_is_found(store: LocalStore, keys: Path) -> None:
    sign(store, keys)
    name = "models/tiny/moves/production/1.json"
    moved = json.loads(store.get(name))
    (store.root / name).write_text(json.dumps(moved | {"who": "somebody else"}))
    assert "predicate.who is" in faults(store, keys / "ours.pub")
    (store.root / name).write_text(json.dumps(moved))
    registry = Registry(store, "tiny")
    registry.move_alias("production", registry.resolve("1"), "back to the base")
    registry.move_alias("production", registry.resolve("2"), "and here again")
    assert "models/tiny/moves/production/3 has no signature" in faults(store, keys / "ours.pub")
    sign(store, keys)
    assert not faults(store, keys / "ours.pub")


@fault(
    "JSON of a store, a server or a checkpoint is none, nested a hundred thousand deep, or gives "
    "a name twice",
    of="writing",
)
@pytest.mark.parametrize(
    "text", ["{", "[" * 100_000, '{"payload": 1, "payload": 2}', "[]", "null", '{"a": 1}']
)
def test_what_is_no_envelope_is_named(store: LocalStore, keys: Path, text: str) -> None:
    (store.root / sign(store, keys)[-1]).write_text(text)
    assert "is no envelope" in faults(store, keys / "ours.pub")
    told = refusal_of(store, version_of(store), read_trusted(keys / "ours.pub"))
    assert told is not None
    assert "is no envelope" in told


def test_the_same_said_in_other_bytes_is_found(store: LocalStore, keys: Path) -> None:
    signer = signer_of(str(keys / "ours.pem"))
    payload = json.loads(statement_of(trace(store, version_of(store)), version_of(store)))
    seal(store, folder_of(version_of(store)), json.dumps(payload, indent=1).encode(), signer)
    assert "says what is true in other bytes" in faults(store, keys / "ours.pub")


def test_a_store_from_before_moves_were_signed_is_whole(store: LocalStore, keys: Path) -> None:
    signer = signer_of(str(keys / "ours.pem"))
    graph = trace(store, version_of(store))
    seal(store, folder_of(version_of(store)), statement_of(graph, version_of(store)), signer)
    sign_files(store, version_of(store), signer)
    audit = Audit()
    check_statements(store, version_of(store), read_trusted(keys / "ours.pub"), audit)
    assert not audit.faults
    assert "no move of an alias of tiny is signed" in audit.notes[0]


def test_commands_use_what_is_trusted_alone(
    store: LocalStore, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = ("--root", str(tmp_path / "root"))
    monkeypatch.setenv(environment.TRUSTED_KEYS, str(keys / "ours.pub"))
    drawn = ("sample", "tiny@2", "-p", "0", "-n", "1", "-o", str(tmp_path / "x.npz"), *root)
    refused = cli(*drawn)
    assert refused.returncode == 1, refused.stderr
    assert "tiny@2 has no signature that is trusted by" in refused.stderr
    assert "nobody signed it" in refused.stderr
    again = ("models", "promote", "tiny@2", "--reason", "again", *root)
    assert "no signature that is trusted" in cli(*again).stderr
    signed = cli("lineage", "attest", "--key", str(keys / "ours.pem"), *root)  # every version of every model
    assert signed.returncode == 0, signed.stderr
    assert "signed tiny@1 with key" in signed.stdout
    assert cli(*drawn).returncode == 0
    moved = cli(*again, "--key", str(keys / "ours.pem"))
    assert moved.returncode == 0, moved.stderr
    assert "; signed with key" in moved.stdout
    assert "faults" not in cli("lineage", "verify", *root).stdout
    by_alias = tuple("tiny@production" if each == "tiny@2" else each for each in drawn)
    assert cli(*by_alias).returncode == 0
    Registry(store, "tiny").move_alias("production", version_of(store), "not signed")
    assert cli(*drawn).returncode == 0
    refused = cli(*by_alias)
    assert refused.returncode == 1
    assert "that tiny@production leads to version 2 has no signature that is trusted" in refused.stderr
    assert "nobody signed it" in refused.stderr
    monkeypatch.setenv(environment.TRUSTED_KEYS, str(tmp_path / "gone"))
    assert "trusted keys" in cli(*drawn).stderr


def test_an_alias_is_followed_by_a_signed_move_alone(store: LocalStore, keys: Path) -> None:
    registry, trusted = Registry(store, "tiny"), read_trusted(keys / "ours.pub")
    two, one = version_of(store), registry.resolve("1")

    def refusal(alias: str, version: Version) -> str | None:
        return refusal_of_alias(registry, alias, version, trusted)

    assert refusal("production", two) is None  # nobody signs moves here yet
    sign(store, keys)
    assert refusal("production", two) is None
    assert "by now it leads to version 2" in str(refusal("production", one))
    store.put("models/tiny/aliases/older", b"2")
    assert registry.aliases()["older"] == 2
    assert "no move of it is on record" in str(refusal("older", two))
    registry.move_alias("production", one, "somebody else")
    assert refusal("production", one) == "nobody signed it"


def test_a_retired_version_is_kept_and_used_no_more(store: LocalStore, tmp_path: Path) -> None:
    root = ("--root", str(tmp_path / "root"))
    retire = ("models", "retire", "tiny@2", "--reason", "pictures were taken back", *root)
    held = cli(*retire)
    assert held.returncode == 2
    assert "production points to it" in held.stderr
    assert cli("models", "promote", "tiny@1", "--reason", "instead", *root).returncode == 0
    done = cli(*retire)
    assert done.returncode == 0, done.stderr
    assert "tiny@2 is retired" in done.stdout
    for command in (
        ("sample", "tiny@2", "-p", "0", "-n", "1", "-o", str(tmp_path / "x.npz")),
        ("models", "promote", "tiny@2", "--reason", "again"),
        ("models", "rollback", "tiny", "--reason", "again"),
    ):
        refused = cli(*command, *root)
        assert refused.returncode == 1, command
        assert "was retired on" in refused.stderr
        assert "pictures were taken back" in refused.stderr
    assert "retired" in cli("models", *root).stdout
    whole = cli("lineage", "verify", "tiny@2", *root)
    assert whole.returncode == 0
    assert "note   tiny@2 was retired by" in whole.stdout
    assert cli("models", "list", "--html", str(tmp_path / "m.html"), *root).returncode == 0
    assert "retired: pictures were taken back" in (tmp_path / "m.html").read_text()
    assert cli("report", "tiny@2", "-o", str(tmp_path / "r.html"), *root).returncode == 0
    again = cli(*retire)
    assert again.returncode == 0
    assert "pictures were taken back" in again.stdout


def test_nothing_is_led_to_a_retired_version(store: LocalStore) -> None:
    registry = Registry(store, "tiny")
    registry.move_alias("production", registry.resolve("1"), "instead")
    retire(registry, version_of(store), "pictures were taken back")
    with pytest.raises(RetiredError, match="pictures were taken back"):
        registry.move_alias("production", version_of(store), "again")
    against = {"incumbent": registry.resolve("1").manifest.digest}
    judged = Judged(**judged_of(version_of(store)) | against)
    with pytest.raises(RetiredError):  # as the same run does, given again
        registry.promote("production", version_of(store), judged)
    assert registry.aliases()["production"] == 1


def test_a_run_that_has_to_sign_does_not_start_without_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(environment.SIGNING_KEY, raising=False)
    config = tmp_path / "config.yaml"
    config.write_text("name: signed\nregistry_push: {require_signature: true}\n")
    done = cli("run", str(config), "--root", str(tmp_path / "root"))
    assert done.returncode == 2, done.stderr
    assert "require_signature is true, and FLOWMAP_SIGNING_KEY names no key" in done.stderr
    assert not (tmp_path / "root" / "store").exists()


def test_new_keys_sign_and_are_listed(store: LocalStore, tmp_path: Path) -> None:
    made = cli("keys", "new", "--out", str(tmp_path / "mine"), "--name", "mine")
    assert made.returncode == 0, made.stderr
    private = tmp_path / "mine" / "mine.pem"
    assert private.stat().st_mode & 0o777 == 0o600
    again = cli("keys", "new", "--out", str(tmp_path / "mine"), "--name", "mine")
    assert again.returncode == 2
    assert "a key is never written over" in again.stderr
    assert sign(store, tmp_path / "mine", "mine")
    trusted = trusting(tmp_path / "mine", "key: mine.pub, until: 2020-01-01")
    listed = cli("keys", "list", "--trusted", str(trusted))
    assert "mine.pub" in listed.stdout
    assert "was trusted until 2020-01-01" in listed.stdout
    (told,) = json.loads(cli("keys", "list", "--trusted", str(trusted), "--json").stdout)
    assert (told["trusted"], told["until"]) == (False, "2020-01-01")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("keys: []", "keys"),
        ("kyes:\n  - key: ours.pub", "unknown key"),
        ("keys:\n  - key: ours.pub\n    until: soon", "until"),
        ("keys:\n  - key: gone.pub", "can't be read"),
        ("keys:\n  - key: ours.pub\n  - key: ours.pub", "stands there twice"),
        ('keys:\n  - key: "-----BEGIN PUBLIC KEY-----\\nnone"', "can't be read"),
        ("keys: [", "not YAML"),
    ],
)
def test_a_file_of_trusted_keys_that_can_not_be_read_is_told(keys: Path, text: str, told: str) -> None:
    path = keys / "trusted.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        read_trusted(path)


def test_a_key_may_stand_in_the_file_itself(keys: Path) -> None:
    pem = (keys / "ours.pub").read_text()
    path = keys / "trusted.yaml"
    path.write_text(
        "keys:\n  - until: 2030-01-01\n    key: |\n"
        + "".join(f"      {line}\n" for line in pem.splitlines())
    )
    (trusted,) = read_trusted(path).keys
    assert trusted.key.keyid == signer_of(str(keys / "ours.pem")).public_key.keyid
    assert trusted.until == date(2030, 1, 1)
