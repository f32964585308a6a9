"""What can be made again of a damaged store is, by one command, and nothing is invented."""

import shutil
from pathlib import Path

import pytest

from flowmap.artifacts.local_store import LocalStore
from flowmap.attestation.checking import check_statements
from flowmap.attestation.keys import new_key_pair, signer_of
from flowmap.attestation.signing import attest, signing_moves
from flowmap.attestation.trust import read_trusted
from flowmap.audit.checking import check
from flowmap.errors import IntegrityError
from flowmap.lineage.statement import is_statement
from flowmap.registry import Registry
from flowmap.registry.documents import documents_prefix
from flowmap.registry.retiring import retire
from tests.cli import flowmap
from tests.faults import fault


@pytest.fixture
def signed(first_run: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A root with two versions, signed, and an alias that people moved; the public key."""
    root = tmp_path / "root"
    shutil.copytree(first_run / "root", root)
    private, public = new_key_pair(tmp_path, "ours")
    store, signer = LocalStore(root / "store"), signer_of(str(private))
    registry = signing_moves(Registry(store, "tiny"), signer)
    for version in registry.versions():
        attest(store, version, signer)
    for reference in ("1", "2"):
        registry.move_alias("champion", registry.resolve(reference), f"back to {reference}")
    return root, public


def faults(root: Path, public: Path) -> list[str]:
    store, found = LocalStore(root / "store"), []
    for version in Registry(store, "tiny").versions():
        audit = check(store, version)
        check_statements(store, version, read_trusted(public), audit)
        found += [fault.name for fault in audit.faults]
    return found


def bytes_of(root: Path) -> dict[str, bytes]:
    store = LocalStore(root / "store")
    return {name: store.get(name) for folder in ("models", "lineage") for name in store.names(folder)}


@fault(
    "a published file, a card, a statement or the last move of an alias is damaged or gone, and "
    "what it was made of is whole",
    "`flowmap lineage mend` writes it again, to the same bytes; of a move, what a trusted key signed",
    of="writing",
)
def test_what_can_be_made_again_is_to_the_same_bytes(signed: tuple[Path, Path]) -> None:
    root, public = signed
    store, before = LocalStore(root / "store"), bytes_of(root)
    registry = Registry(store, "tiny")
    version = registry.resolve("2")
    statements = [
        next(filter(is_statement, store.names(folder)))
        for folder in ("models/tiny/2/statements", "lineage/statements")
    ]
    damaged = [
        f"{registry.files_prefix(version)}/ema.safetensors",
        f"{documents_prefix(version)}/README.md",
        *statements,
    ]
    for name in damaged:
        store.put(name, b"other")
    lost = [
        "models/tiny/moves/champion/2.json",
        f"{documents_prefix(version)}/samples.png",
        f"{documents_prefix(version)}/manifest.json",
    ]
    for name in lost:
        store.delete(name)
    with pytest.raises(IntegrityError, match="`flowmap lineage mend` writes it again"):
        registry.resolve("champion")
    assert set(faults(root, public)) >= {*damaged, *lost}
    done = flowmap("lineage", "mend", "--root", str(root), "--trusted", str(public))
    assert done.returncode == 0, done.stderr
    assert all(f"wrote {name} again, from " in done.stdout for name in [*damaged, *lost])
    assert faults(root, public) == []
    assert bytes_of(root) == before
    for wrong in ("tiny@2", "tini"):
        told = flowmap("lineage", "mend", wrong, "--root", str(root))
        assert told.returncode == 2
        assert f"'{wrong}': no such model in" in told.stderr
    again = flowmap("lineage", "mend", "tiny", "--root", str(root), "--trusted", str(public))
    assert "nothing to mend that can be made again" in again.stdout


@fault(
    "a published file, a card, a statement or the last move of an alias is damaged or gone, and "
    "what it was made of is whole",
    of="writing",
)
def test_a_move_that_no_trusted_key_signed_is_not_made_again(
    signed: tuple[Path, Path], tmp_path: Path
) -> None:
    root, _ = signed
    _, other = new_key_pair(tmp_path, "other")
    LocalStore(root / "store").delete("models/tiny/moves/champion/2.json")
    done = flowmap("lineage", "mend", "--root", str(root), "--trusted", str(other))
    assert "nothing to mend that can be made again" in done.stdout
    assert done.returncode == 1
    assert "can't mend models/tiny/moves/champion/2.json: no signature that is trusted" in done.stderr
    assert faults(root, other)


def test_the_signature_of_another_move_makes_none(signed: tuple[Path, Path]) -> None:
    root, public = signed
    store = LocalStore(root / "store")
    folder = "models/tiny/moves/champion"
    (of_first,) = store.names(f"{folder}/1")
    (of_second,) = store.names(f"{folder}/2")
    store.put(of_second, store.get(of_first))
    store.delete(f"{folder}/2.json")
    done = flowmap("lineage", "mend", "--root", str(root), "--trusted", str(public))
    assert f"wrote {folder}/2.json" not in done.stdout
    assert f"{folder}/2.json" in faults(root, public)


def test_weights_whose_artifact_is_damaged_too_stay_and_are_named(signed: tuple[Path, Path]) -> None:
    root, public = signed
    store = LocalStore(root / "store")
    version = Registry(store, "tiny").resolve("2")
    names = [
        f"{prefix}/ema.safetensors"
        for prefix in (f"artifacts/{version.candidate}", Registry(store, "tiny").files_prefix(version))
    ]
    for name in names:
        store.put(name, b"other")
    done = flowmap("lineage", "mend", "--root", str(root))
    assert done.returncode == 1, done.stderr
    assert f"can't mend {names[1]}: " in done.stderr
    assert set(names) <= set(faults(root, public))


@fault(
    "the signed retirement of a version is changed or taken away",
    "nothing is drawn from it all the same; `lineage verify` names it, and `mend` writes it again",
    of="writing",
)
def test_a_signed_retirement_can_not_be_taken_back_unseen(signed: tuple[Path, Path], tmp_path: Path) -> None:
    root, public = signed
    store, here = LocalStore(root / "store"), ("--root", str(root))
    private = public.with_suffix(".pem")
    retire = ("models", "retire", "tiny@2", "--reason", "pictures were taken back", *here)
    _point_elsewhere(store, private)
    done = flowmap(*retire, "--key", str(private))
    assert done.returncode == 0, done.stderr
    assert faults(root, public) == []
    name = "models/tiny/2/retired.json"
    before = store.get(name)
    store.put(name, before.replace(b"taken back", b"given back"))
    assert any(each.startswith("models/tiny/2/ret") for each in faults(root, public))
    store.delete(name)
    assert name in faults(root, public)
    used = flowmap("sample", "tiny@2", "-p", "0", "-n", "1", "-o", str(tmp_path / "x.npz"), *here)
    assert used.returncode == 1
    assert "is missing, and signatures of it are there" in used.stderr
    _, other = new_key_pair(tmp_path, "other")
    refused = flowmap("lineage", "mend", *here, "--trusted", str(other))
    assert f"wrote {name}" not in refused.stdout
    assert refused.returncode == 1
    assert "can't mend the retirement of tiny@2: " in refused.stderr
    listed = flowmap("models", "list", *here)  # one record that is damaged ends no list
    assert listed.returncode == 0, listed.stderr
    assert "signatures of it are there" in listed.stdout
    done = flowmap("lineage", "mend", *here, "--trusted", str(public))
    assert f"wrote {name} again, from the signature beside it" in done.stdout, done.stderr
    assert store.get(name) == before
    assert faults(root, public) == []
    assert f"{name}" in faults(root, other) or "models/tiny/2/retirement" in faults(root, other)


def test_a_retirement_that_nobody_signed_is_signed_afterwards(signed: tuple[Path, Path]) -> None:
    root, public = signed
    store, here = LocalStore(root / "store"), ("--root", str(root))
    private = public.with_suffix(".pem")
    _point_elsewhere(store, private)
    registry = Registry(store, "tiny")
    retire(registry, registry.resolve("2"), "pictures were taken back")
    assert faults(root, public) == []
    done = flowmap("lineage", "attest", "tiny@2", *here, "--key", str(private))
    assert done.returncode == 0, done.stderr
    assert list(store.names("models/tiny/2/retirement"))
    store.delete("models/tiny/2/retired.json")
    assert "models/tiny/2/retired.json" in faults(root, public)


def _point_elsewhere(store: LocalStore, private: Path) -> None:
    registry = signing_moves(Registry(store, "tiny"), signer_of(str(private)))
    for alias, number in registry.aliases().items():
        if number == 2:
            registry.move_alias(alias, registry.resolve("1"), "instead")
