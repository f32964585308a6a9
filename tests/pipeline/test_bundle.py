"""A real run's version carried to another store with its evidence; its card and its bill of materials."""

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from flowmap.artifacts.digest import sha256_of
from flowmap.artifacts.local_store import LocalStore
from flowmap.attestation.keys import new_key_pair, signer_of
from flowmap.attestation.signing import attest
from flowmap.attestation.trust import read_trusted
from flowmap.documents.bill_of_materials import bill_of_materials
from flowmap.documents.model_card import model_card
from flowmap.errors import ConfigError, IntegrityError
from flowmap.lineage.edges import makers
from flowmap.lineage.record import write_edges
from flowmap.registry import Registry
from flowmap_pipelines.bundle import read_bundle, write_bundle
from tests.cli import flowmap as cli
from tests.faults import fault
from tests.pipeline.runs import Finished, damaged


@pytest.fixture(scope="module")
def store(root: Path, first: Finished) -> LocalStore:
    return LocalStore(root / "store")


@pytest.fixture(scope="module")
def bundle(root: Path, store: LocalStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of tiny@2, signed, by the command; `trusted.pub` beside it."""
    folder = tmp_path_factory.mktemp("bundles")
    private, _ = new_key_pair(folder, "trusted")
    attest(store, Registry(store, "tiny").resolve("2"), signer_of(str(private)))
    done = cli(
        "models", "export", "tiny@2", str(folder / "tiny-2"), "--format", "bundle", "--root", str(root)
    )
    assert done.returncode == 0, done.stderr
    assert "README.md, bom.cdx.json, bundle.json, report.html, samples.png, store" in done.stdout
    return folder / "tiny-2"


def named(store: LocalStore) -> set[str]:
    """Every object of a store, but for who moved an alias, and that older records are indexed."""
    files = (path for path in store.root.rglob("*") if path.is_file())
    names = {path.relative_to(store.root).as_posix() for path in files}
    return {name for name in names if "/moves/" not in name and name != "lineage/indexed"}


def test_what_is_carried_is_whole_there_and_draws_the_same(
    bundle: Path, store: LocalStore, root: Path, tmp_path: Path
) -> None:
    key = ("--trusted", str(bundle.parent / "trusted.pub"))
    there = ("--root", str(tmp_path / "other"))
    done = cli("models", "import", str(bundle), *key, *there)
    assert done.returncode == 0, done.stderr
    assert "tiny@2 is in" in done.stdout
    whole = cli("lineage", "verify", "tiny@2", *key, *there)
    assert whole.returncode == 0, whole.stdout
    for where, folder in ((there, "there"), (("--root", str(root)), "here")):
        drawn = cli("sample", "tiny@2", "-p", "0", "-n", "4", "-o", str(tmp_path / f"{folder}.npz"), *where)
        assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "there.npz").read_bytes() == (tmp_path / "here.npz").read_bytes()
    other = LocalStore(tmp_path / "other" / "store")
    assert Registry(other, "tiny").aliases() == {"anchor": 1}  # what is used there, nobody here says
    before = named(other)
    assert all(other.get(name) == store.get(name) for name in before)
    assert "models/tiny/attempts/1.json" in before
    again = cli("models", "import", str(bundle), *there)
    assert again.returncode == 0, again.stderr
    assert "0 objects are new" in again.stderr
    assert named(other) == before
    moved = cli("models", "promote", "tiny@2", "--reason", "as they do", *there)
    assert moved.returncode == 0, moved.stderr


def test_the_folder_is_a_store_of_its_own(bundle: Path) -> None:
    whole = cli("lineage", "verify", "tiny@2", "--root", str(bundle))
    assert whole.returncode == 0, whole.stdout
    assert "all whole" in whole.stdout


def test_what_else_the_house_makes_of_the_same_data_does_not_go_along(
    store: LocalStore, first: Finished, tmp_path: Path
) -> None:
    shutil.copytree(store.root, tmp_path / "store")
    here, data = LocalStore(tmp_path / "store"), first.digests()["data_prep"]
    (own,) = makers(here, data).values()
    other = own.model_copy(
        update={
            "run_id": "other",
            "reused": True,
            "is_stated": False,
            "config": (own.config or {}) | {"name": "a-secret-project"},
        }
    )
    written = other.model_dump_json(indent=1).encode()
    here.put(f"lineage/{sha256_of(written)}.json", written)
    write_edges(here, sha256_of(written), other)
    version = Registry(here, "tiny").resolve("2")
    write_bundle(here, version, tmp_path / "bundle")
    there = tmp_path / "bundle" / "store"
    assert len(makers(here, data)) == 2
    assert len(makers(LocalStore(there), data)) == 1
    assert not [
        path for path in there.rglob("*") if path.is_file() and b"a-secret-project" in path.read_bytes()
    ]
    assert read_bundle(tmp_path / "bundle", LocalStore(tmp_path / "target"), None) == version


@fault(
    "an import of a bundle is cut off anywhere",
    "the same command again goes on; until then there is no such version",
    of="rivals",
)
def test_an_import_that_was_cut_off_goes_on(bundle: Path, tmp_path: Path) -> None:
    target = LocalStore(tmp_path / "store")

    class Dying(LocalStore):
        left = 0

        def put_file(self, name: str, source: Path) -> None:
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            super().put_file(name, source)

    num = len(named(LocalStore(bundle / "store")))
    for after in (0, 1, num // 2, num - 2, num - 1):
        shutil.rmtree(target.root, ignore_errors=True)
        dying = Dying(tmp_path / "store")
        dying.left = after
        with pytest.raises(KeyboardInterrupt):
            read_bundle(bundle, dying, None)
        assert not target.exists("models/tiny/2/version.json")
        assert read_bundle(bundle, target, None).version == 2


@fault(
    "a bundle was changed on the way, one byte of anything",
    "nothing is imported, and what was changed is named",
    of="rivals",
)
def test_what_was_changed_on_the_way_is_refused(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    target = LocalStore(tmp_path / "target")
    inside = sorted(f"store/{name}" for name in named(LocalStore(bundle / "store")))
    for name in [*inside, "README.md", "bom.cdx.json", "report.html", "samples.png"]:
        file = copy / name
        how = "flipped" if file.stat().st_size else "gone"  # an edge: its name is all that it says
        with damaged(file, how):
            try:
                read_bundle(copy, target, None)
            except (IntegrityError, ConfigError):
                pass
            else:
                pytest.fail(f"{name} was changed, and nobody saw it")
        assert not named(target), name


@fault(
    "a bundle has links, to files of whoever imports it",
    "nothing is imported: links are named, and not followed",
    of="rivals",
)
@pytest.mark.parametrize(
    "at", ["store/models/tiny/2/retired.json", "store/models/tiny/2/extra.json", "more", "README.md"]
)
def test_what_a_bundle_links_to_is_not_read(bundle: Path, tmp_path: Path, at: str) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    secret = tmp_path / "id_ed25519"
    secret.write_text("mine")
    (copy / at).unlink(missing_ok=True)
    (copy / at).symlink_to(tmp_path if at == "more" else secret)
    target = LocalStore(tmp_path / "target")
    with pytest.raises(IntegrityError, match=f"{at} is no file and no folder: no bundle has links"):
        read_bundle(copy, target, None)
    assert not named(target)


def test_what_nobody_keeps_of_a_version_is_named_and_not_carried(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    stray = "models/tiny/2/extra.bin"
    (copy / "store" / stray).write_text("x")
    with pytest.raises(IntegrityError, match=f"{stray} is nothing that a registry keeps of a version"):
        read_bundle(copy, LocalStore(tmp_path / "target"), None)
    assert not named(LocalStore(tmp_path / "target"))


def test_who_is_not_trusted_imports_nothing(bundle: Path, tmp_path: Path) -> None:
    _, public = new_key_pair(tmp_path, "other")
    with pytest.raises(IntegrityError, match="has no signature that is trusted"):
        read_bundle(bundle, LocalStore(tmp_path / "target"), read_trusted(public))
    assert not named(LocalStore(tmp_path / "target"))


def test_what_an_older_flowmap_spelt_otherwise_is_the_same_version(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "older")
    file = tmp_path / "older" / "store" / "models" / "tiny" / "2" / "version.json"
    file.write_text(json.dumps(json.loads(file.read_text()), indent=2, sort_keys=True))
    target = LocalStore(tmp_path / "target")
    for _ in range(2):
        assert read_bundle(tmp_path / "older", target, None).version == 2
    assert target.get("models/tiny/2/version.json") == file.read_bytes()


def test_a_number_that_is_taken_is_not_given_again(bundle: Path, tmp_path: Path) -> None:
    target = LocalStore(tmp_path / "target")
    read_bundle(bundle, target, None)
    name = "models/tiny/2/version.json"
    told = json.loads(target.get(name))
    (target.root / name).write_text(json.dumps(told | {"trial": 7}, indent=1))
    with pytest.raises(ConfigError, match="tiny@2 is another version in"):
        read_bundle(bundle, target, None)
    with pytest.raises(ConfigError, match="is no bundle"):
        read_bundle(tmp_path, target, None)


def test_a_store_that_counts_attempts_already_gets_those_of_what_comes(bundle: Path, tmp_path: Path) -> None:
    target = LocalStore(tmp_path / "target")
    target.put("models/tiny/attempts/7.json", b'["other", "terms"]')
    read_bundle(bundle, target, None)
    kept = LocalStore(bundle / "store").get("models/tiny/attempts/1.json")
    assert target.get("models/tiny/attempts/1.json") == kept
    assert target.get("models/tiny/attempts/7.json") == b'["other", "terms"]'
    taken = LocalStore(tmp_path / "taken")
    taken.put("models/tiny/attempts/1.json", b'["other", "terms"]')
    with pytest.raises(ConfigError, match="is another candidate's attempt at the gate"):
        read_bundle(bundle, taken, None)
    assert not taken.exists("models/tiny/2/version.json")


def test_what_is_damaged_here_is_not_carried(store: LocalStore, tmp_path: Path) -> None:
    shutil.copytree(store.root, tmp_path / "store")
    damaged = LocalStore(tmp_path / "store")
    version = Registry(damaged, "tiny").resolve("2")
    (damaged.root / Registry(damaged, "tiny").files_prefix(version) / "model.json").write_text("{}")
    with pytest.raises(IntegrityError, match=r"model\.json"):
        write_bundle(damaged, version, tmp_path)


def test_the_card_is_what_the_hub_reads_and_says_what_was_measured(store: LocalStore, bundle: Path) -> None:
    version = Registry(store, "tiny").resolve("2")
    card = huggingface_hub.ModelCard((bundle / "README.md").read_text())
    data: Any = card.data
    assert data.library_name == "flowmap"
    figures = {each.metric_type: each.metric_value for each in data.eval_results}
    assert figures["judge_accuracy"] == pytest.approx(version.figures["judge_accuracy"], abs=1e-5)
    assert version.manifest.digest in card.text
    assert "classifier, preference, mmd; 16 rollouts of 128 samples" in card.text
    assert "with a caption drawn at random" in card.text
    assert "Prompts: `0`, `1`" in card.text
    assert "signed by key" in card.text
    base = model_card(store, Registry(store, "tiny").resolve("1"))
    assert "a flow map as base training made it" in base
    assert "What the gate held it to" not in base
    printed = cli("models", "card", "tiny@2", "--root", str(store.root.parent))
    assert printed.stdout.startswith("---\nlibrary_name: flowmap\n")


def test_the_bill_of_materials_is_cyclonedx(store: LocalStore, bundle: Path) -> None:
    text = (bundle / "bom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    told, version = json.loads(text), Registry(store, "tiny").resolve("2")
    model = told["metadata"]["component"]
    assert {each["name"] for each in model["components"]} == {entry.path for entry in version.manifest.files}
    refs = {each["bom-ref"] for each in told["components"]}
    assert version.candidate in refs
    assert version.evaluation not in refs  # it was judged by that, and not made of it
    assert any(ref.startswith("pkg:pypi/torch@") for ref in refs)
    used = {each["ref"] for each in model["modelCard"]["modelParameters"]["datasets"]}
    assert used <= refs
    assert bill_of_materials(store, version) == text
