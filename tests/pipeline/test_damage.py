"""Every object that says or holds something of a model is damaged or gone, one at a time: all is found and
named. The store is a real run's, signed, with a rejected candidate and an alias that people moved."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowmap.artifacts.local_store import LocalStore
from flowmap.attestation.checking import check_statements
from flowmap.attestation.keys import new_key_pair, signer_of
from flowmap.attestation.signing import attest, signing_moves
from flowmap.attestation.trust import TrustedKeys, read_trusted
from flowmap.audit.checking import Looked, check
from flowmap.audit.faults import Audit
from flowmap.errors import FlowmapError
from flowmap.lineage.edges import makers
from flowmap.lineage.log import LOG
from flowmap.lineage.record import RECORDS
from flowmap.settings import environment
from tests.faults import fault
from tests.pipeline.runs import Finished, damaged, registry, run

# A gain that nobody reaches.
REJECTED = "evaluation.frechet_tolerance=0.01"


@pytest.fixture(scope="module")
def signed(
    first_run: Path, first: Finished, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, TrustedKeys, set[str]]:
    """A root with whatever a registry can keep, the key that all of it is signed with, and the digests that
    the rejected candidate alone rests on."""
    folder = tmp_path_factory.mktemp("signed")
    root = folder / "root"
    shutil.copytree(first_run / "root" / "store", root / "store")
    private, public = new_key_pair(folder, "ours")
    versions, signer = registry(root), signer_of(str(private))
    for number in ("1", "2"):
        attest(versions.store, versions.resolve(number), signer)
    moving = signing_moves(versions, signer)
    for number in ("1", "2", "1"):
        moving.move_alias("champion", versions.resolve(number), "for the test")
    rejected = run(root, REJECTED, environment={environment.SIGNING_KEY: str(private)})
    assert rejected.status == 3, rejected.told
    aside = {
        digest for name, digest in rejected.digests().items() if name in ("evaluation", "registry_push")
    }
    aside |= {digest for each in aside for digest in makers(versions.store, each)}
    aside |= {  # who used again what another run had made: a version rests on what that one says
        digest
        for each in rejected.digests().values()
        for digest, record in makers(versions.store, each).items()
        if record.reused
    }
    return root, read_trusted(public), aside


def objects(store: LocalStore, aside: set[str]) -> list[str]:
    """Names of all but indices, which nothing that verifies reads, and what no version rests on."""
    return [
        name
        for folder in ("artifacts", RECORDS, "models")
        for name in store.names(folder)
        if name != f"{RECORDS}/indexed"
        and not name.startswith(f"{LOG}/")
        and ("/rejections/" in name or not any(digest in name for digest in aside))
    ]


def told_of(root: Path, trusted: TrustedKeys) -> list[str]:
    """What is wrong with the versions, or unusual."""
    found = []
    try:
        for version in registry(root).versions():
            audit = check(LocalStore(root / "store"), version)
            check_statements(LocalStore(root / "store"), version, trusted, audit)
            found += [f"{fault.name} {fault.told}" for fault in audit.faults] + audit.notes
    except FlowmapError as error:  # a version that can't be read can't be asked for
        return [str(error)]
    return found


def ways_to_name(name: str) -> tuple[str, ...]:
    """An object that is gone may be missed where it should be: an edge of its artifact, a signature in its
    folder."""
    folder = name.rpartition("/")[0]
    if name.startswith(f"{RECORDS}/made/"):
        return name, f"{folder}/", f"artifacts/{folder.rpartition('/')[2]}/manifest.json no record says"
    return (
        (name, f"{folder} has no signature")
        if "/signatures/" in name or "/statements/" in name or "/moves/" in name
        else (name,)
    )


@fault(
    "any object that a version rests on, or that its registry keeps, is changed, cut or gone",
    "`verify` names it",
    of="writing",
)
def test_whatever_is_damaged_is_found_and_named(signed: tuple[Path, TrustedKeys, set[str]]) -> None:
    root, trusted, aside = signed
    names = objects(LocalStore(root / "store"), aside)
    folders = {name.rpartition("/")[0] for name in names}
    assert folders >= {
        "models/tiny/moves/champion",
        "models/tiny/moves/champion/3",
        "models/tiny/attempts",
        "models/tiny/rejections",
        "models/tiny/2/statements",
    }
    assert not told_of(root, trusted)
    missed = []
    for name in names:
        for how in ("gone", "cut", "flipped"):
            file = root / "store" / name
            if how != "gone" and not file.stat().st_size:
                continue  # an edge is empty
            with damaged(file, how):
                told = told_of(root, trusted)
            if not any(wanted in each for wanted in ways_to_name(name) for each in told):
                missed.append((name, how, told[:3]))
    assert not missed, "\n".join(map(str, missed))
    assert not told_of(root, trusted)


@fault(
    "several of the objects that a version rests on are damaged at once",
    "`verify` names each of them; what it can't compare for that it says",
    of="writing",
)
@given(damage=st.data())
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_of_several_that_are_damaged_each_is_named(
    signed: tuple[Path, TrustedKeys, set[str]], damage: st.DataObject
) -> None:
    """One that lies in the way of others must not stand for them. What is signed is compared with what it
    was signed of, and not where that is damaged."""
    root, trusted, aside = signed
    store = LocalStore(root / "store")
    names = objects(store, aside)
    leads = damage.draw(st.sampled_from([name for name in names if leads_on(name)]))
    # What nobody else leads to, perhaps.
    own = leads.split("/")[1] if is_manifest(leads) else json.loads(store.get(leads)).get("output", leads)
    files = [
        name for name in names if name.startswith("artifacts/") and own not in name and not is_manifest(name)
    ]
    chosen = [leads, *damage.draw(st.lists(st.sampled_from(files), min_size=1, max_size=4, unique=True))]
    with ExitStack() as stack:
        for name in chosen:
            stack.enter_context(
                damaged(root / "store" / name, damage.draw(st.sampled_from(("cut", "flipped"))))
            )
        audit = Audit()
        for version in registry(root).versions(audit.add):
            found = check(store, version)
            check_statements(store, version, trusted, found)
            for fault in found.faults:
                audit.add(fault.name, fault.told)
    told = [fault.name for fault in audit.faults]
    assert not set(chosen) - set(told), told


def test_what_several_versions_rest_on_is_read_once(
    signed: tuple[Path, TrustedKeys, set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is wrong with it is told of each."""
    root, _, _ = signed
    store, read, chunks = LocalStore(root / "store"), Counter[str](), LocalStore.chunks

    def counted(self: LocalStore, name: str) -> Iterator[bytes]:
        read[name] += 1
        return chunks(self, name)

    monkeypatch.setattr(LocalStore, "chunks", counted)
    weights = [name for name in store.names("artifacts") if name.endswith("/map.safetensors")]
    with damaged(root / "store" / weights[0], "gone"):
        looked, versions = Looked(), registry(root).versions()
        found = [check(store, version, looked=looked) for version in versions]
    assert len(versions) == 2
    assert [[fault.name for fault in audit.faults] for audit in found] == [weights[:1]] * 2
    assert max(read[name] for name in store.names("artifacts") if name.endswith(".safetensors")) == 1
    assert found[1].num_files == check(store, versions[1]).num_files


def leads_on(name: str) -> bool:
    """Records, versions, manifests: what others are found by."""
    is_record = name.startswith(f"{RECORDS}/") and name.count("/") == 1
    return is_record or name.endswith("/version.json") or is_manifest(name)


def is_manifest(name: str) -> bool:
    return name.startswith("artifacts/") and name.endswith("/manifest.json")
