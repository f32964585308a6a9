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
    assert "can't mend the files of tiny@2: " in done.stderr
    assert set(names) <= set(faults(root, public))
