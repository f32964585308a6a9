"""An audit of a real run's store: whole as it is, and every object in it damaged, one at a time."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import pandas as pd
import pytest
from playwright.sync_api import Page

import flowmap
import flowmap_pipelines
from flowmap.artifacts.digest import sha256_of
from flowmap.artifacts.local_store import LocalStore
from flowmap.audit.checking import Audit, check
from flowmap.audit.difference import differences
from flowmap.audit.graph import Graph, trace
from flowmap.audit.impact import impact
from flowmap.errors import FlowmapError
from flowmap.lineage.edges import add_missing_edges
from flowmap.lineage.log import LOG
from flowmap.lineage.record import RECORDS, write_edges
from flowmap_pipelines.lineage_page import write_lineage_page
from tests.browser import stands_alone_and_fits
from tests.cli import flowmap as cli
from tests.pipeline.runs import Finished, registry

# What a run does without, or checks itself each time: no part of what a version rests on.
ASIDE = ("checkpoints/", "tensorboard/", "runs/", "steps/")


def audit(root: Path, reference: str = "production") -> Audit:
    versions = registry(root)
    return check(versions.store, versions.resolve(reference))


def lineage(root: Path) -> Graph:
    versions = registry(root)
    return trace(versions.store, versions.resolve("2"))


@contextmanager
def damaged(file: Path, how: str) -> Iterator[None]:
    whole = file.read_bytes()
    try:
        if how == "gone":
            file.unlink()
        else:
            middle = len(whole) // 2
            file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        yield
    finally:
        file.write_bytes(whole)


def resting_on(root: Path, first: Finished) -> list[str]:
    """Names of all objects that version 2 rests on."""
    store = LocalStore(root / "store")
    after = {first.digests()["registry_push"]}  # made of the version, not the version of it
    names = [
        name
        for folder in ("artifacts", RECORDS, "models/tiny/2", "models/tiny/files")
        for name in store.names(folder)
        if not any(digest in name for digest in after)
    ]
    records = {name for name in names if name.endswith(".json") and name.count("/") == 1}
    mine = {digest for node in lineage(root).nodes.values() for digest in node.records}
    others = {Path(name).stem for name in records} - mine
    base = registry(root).resolve("1").manifest.digest
    return [
        name
        for name in names
        if not any(digest in name for digest in others)
        and base not in name
        and name != f"{RECORDS}/indexed"
        and not name.startswith(f"{LOG}/")  # for who keeps an index, which nothing that verifies reads
    ]


def test_a_run_is_whole_and_all_of_it_is_looked_at(root: Path, first: Finished) -> None:
    found = audit(root)
    assert not found.faults
    assert (found.num_artifacts, found.num_records, found.num_versions) == (5, 5, 1)
    graph = lineage(root)
    kinds = {node.kind: node for node in graph.nodes.values()}
    made = first.digests()
    assert {kind: kinds[kind].digest for kind in made if kind in kinds} == {
        kind: digest for kind, digest in made.items() if kind != "registry_push"
    }
    assert kinds["version"].inputs == {"model": made["grpo_finetuning"], "evaluation": made["evaluation"]}
    record = kinds["grpo_finetuning"].made_by
    assert record is not None
    assert record.config is not None
    assert record.config["evaluation"]["resamples"] == 50


def test_whatever_is_damaged_is_found_and_named(root: Path, first: Finished) -> None:
    names = resting_on(root, first)
    assert len(names) > 40
    missed = []
    for name in names:
        for how in ("gone", "flipped"):
            file = root / "store" / name
            if how == "flipped" and not file.stat().st_size:
                continue  # an edge is empty
            with damaged(file, how):
                try:
                    told = [f"{fault.name} {fault.told}" for fault in audit(root).faults]
                except FlowmapError as error:  # a version that can't be read can't be asked for
                    told = [str(error)]
            named = name if not name.startswith(f"{RECORDS}/made/") else "no record says"
            if not any(named in each for each in told):
                missed.append((name, how, told))
    assert not missed
    assert not audit(root).faults


def test_a_file_too_many_is_found(root: Path, first: Finished) -> None:
    name = f"artifacts/{first.digests()['grpo_finetuning']}/extra.safetensors"
    LocalStore(root / "store").put(name, b"x")
    (fault,) = audit(root).faults
    assert (fault.name, fault.told) == (name, "is no file of that artifact")
    (root / "store" / name).unlink()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"before": 2}, "moves champion from version 2, and it pointed to 1"),
        ({"version": 9}, "moves champion to version 9, which there is none of"),
        ({"evaluation": "e" * 64}, "rests on evaluation"),
    ],
)
def test_a_move_that_was_changed_is_found(
    root: Path, first: Finished, tmp_path: Path, change: dict[str, object], says: str
) -> None:
    shutil.copytree(root / "store", tmp_path / "root" / "store")
    versions = registry(tmp_path / "root")
    for number in (1, 2):
        versions.move_alias("champion", versions.resolve(str(number)), "for the test")
    assert not audit(tmp_path / "root").faults
    name = "models/tiny/moves/champion/2.json"
    kept = json.loads(versions.store.get(name)) | change
    versions.store.put(name, json.dumps(kept).encode())
    (fault,) = audit(tmp_path / "root").faults
    assert fault.name == name
    assert says in fault.told


def test_a_record_put_in_the_place_of_another_is_found(root: Path, first: Finished) -> None:
    """With a digest of its own it is no forgery of bytes, but what it says does not add up."""
    store = LocalStore(root / "store")
    node = lineage(root).nodes[first.digests()["base_training"]]
    (digest,) = node.records
    record = node.records[digest].model_copy(update={"section": {"updates": 1}})
    data = record.model_dump_json(indent=1).encode()
    forged = sha256_of(data)
    original = store.get(f"{RECORDS}/{digest}.json")
    store.put(f"{RECORDS}/{forged}.json", data)
    write_edges(store, forged, record)
    told = [fault.told for fault in audit(root).faults]
    assert any("what decided it comes to" in each for each in told), told
    for name in [name for name in store.names(RECORDS) if forged in name]:
        store.delete(name)
    assert store.get(f"{RECORDS}/{digest}.json") == original


def test_records_of_an_older_flowmap_get_their_edges_once(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "store", tmp_path / "store")
    store = LocalStore(tmp_path / "store")
    folders = (f"{RECORDS}/made", f"{RECORDS}/used")
    edges = [name for folder in folders for name in store.names(folder)]
    for name in [*edges, f"{RECORDS}/indexed"]:
        store.delete(name)
    assert add_missing_edges(store) > 0
    assert [name for folder in folders for name in store.names(folder)] == edges
    assert add_missing_edges(store) == 0


def test_what_data_went_into(root: Path, first: Finished) -> None:
    found, made = impact(LocalStore(root / "store"), first.digests()["data_prep"]), first.digests()
    assert [version.version for version in found.trained] == [1, 2]
    assert set(found.artifacts) == set(made.values()) - {made["data_prep"]}
    tuned = impact(LocalStore(root / "store"), made["grpo_finetuning"])
    assert [version.version for version in tuned.trained] == [2]
    assert [version.version for version in tuned.judged] == [1]


def test_the_commands(root: Path, first: Finished) -> None:
    shown = cli("lineage", "show", "tiny@2", "--root", str(root))
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.splitlines()[0].startswith("tiny@2 ")
    assert f"   └─ tuned: grpo_finetuning {first.digests()['grpo_finetuning'][:12]}" in shown.stdout
    assert shown.stdout.rstrip().endswith("(above)")
    nodes = json.loads(cli("lineage", "show", "tiny@2", "--json", "--root", str(root)).stdout)["nodes"]
    assert len(nodes) == 6
    verified = cli("lineage", "verify", "--root", str(root))
    assert verified.returncode == 0, verified.stdout
    assert [line.split(":")[0] for line in verified.stdout.splitlines()] == ["tiny@1", "tiny@2"]
    assert verified.stdout.count("all whole") == 2
    data = root / "store" / "artifacts" / first.digests()["data_prep"]
    with damaged(max(data.iterdir(), key=lambda file: file.stat().st_size), "flipped"):
        refused = cli("lineage", "verify", "tiny", "--root", str(root))
    assert refused.returncode == 1
    assert "FAULT  artifacts/" in refused.stdout
    touched = cli("lineage", "impact", first.digests()["data_prep"][:10], "--root", str(root))
    assert "went into the weights of: tiny@1, tiny@2" in touched.stdout


def test_how_the_data_of_two_versions_differ(root: Path, first: Finished) -> None:
    arguments = ("data", "diff", "tiny@1", first.digests()["data_prep"][:12], "--root", str(root))
    told = cli(*arguments, "--max-psi", "0.1")
    assert told.returncode == 0, told.stderr
    assert "1,797 data before, 1,797 now: 0 came, 0 went" in told.stdout
    assert "brightness did not move: 0.000" in told.stdout
    assert json.loads(cli(*arguments, "--json").stdout)["shared"] == 1797
    unknown = cli("data", "diff", "tiny@1", "abcdefabcdef", "--root", str(root))
    assert unknown.returncode == 2
    assert "0 data artifacts begin so" in unknown.stderr


def test_what_models_saw_one_datum(root: Path, first: Finished) -> None:
    data = first.digests()["data_prep"]
    table = pd.read_parquet(root / "store" / "artifacts" / data / "table.parquet").set_index("split")
    for split, told in (
        ("base", "went into the weights of: tiny@1, tiny@2\n"),
        ("holdout", "went into the weights of: none\n"),
    ):
        one = table.loc[split].iloc[0]
        found = cli("lineage", "impact", one["digest"], "--root", str(root))
        assert f"{one['id']}, {one['digest']}, is in the split {split} of data {data[:12]}" in found.stdout
        assert told in found.stdout
    assert "was only judged with, by: tiny@1, tiny@2\n" in found.stdout
    (known,) = json.loads(cli("lineage", "impact", one["id"], "--json", "--root", str(root)).stdout)
    assert (known["split"], known["trained"], known["judged"]) == ("holdout", [], ["tiny@1", "tiny@2"])


def test_why_two_versions_differ_first_cause_first(root: Path, first: Finished) -> None:
    told = cli("lineage", "diff", "tiny@2", "tiny@2", "--root", str(root))
    assert told.stdout.strip() == "nothing that decided them differs"
    graph = lineage(root)

    def changed(kind: str, digest: str, **update: object) -> Graph:
        """The same history with another record of one step, and all that was made of it made anew."""
        nodes = {}
        for node in graph.nodes.values():
            (name, record), *_ = [*node.records.items(), ("", None)]
            renamed = {each: digest if each == made[kind] else f"{each}+" for each in graph.nodes}
            inputs = {key: renamed[used] for key, used in node.inputs.items()}
            if record is not None:
                more = update if node.kind == kind else {}
                record = record.model_copy(update={"inputs": {**record.inputs, **inputs}, **more})
            records = {} if record is None else {name: record}
            nodes[renamed[node.digest]] = replace(
                node, digest=renamed[node.digest], inputs=inputs, records=records
            )
        return Graph(f"{graph.root}+", nodes)

    made = first.digests()
    section = graph.nodes[made["base_training"]].made_by
    assert section is not None
    other = changed(
        "base_training", "b" * 64, section={**section.section, "updates": 9}, code_version="c" * 64
    )
    found = list(differences(graph, other))
    assert [(each.step, each.what) for each in found[:2]] == [
        ("base_training", "code"),
        ("base_training", "updates"),
    ]
    assert (found[1].left, found[1].right) == (250, 9)


@pytest.mark.parametrize(
    ("what", "status", "says"), [("nothing", 3, "no such model"), ("abcdefabcdef", 3, "no such model")]
)
def test_what_is_not_known_is_told(root: Path, what: str, status: int, says: str) -> None:
    told = cli("lineage", "impact", what, "--root", str(root))
    assert says in told.stderr
    assert told.returncode in (status, 2)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1200])
def test_lineage_is_a_page_whose_boxes_lead_to_what_is_on_record(
    root: Path, first: Finished, page: Page, tmp_path: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    graph = lineage(root)
    write_lineage_page(graph, "tiny@2", "here", tmp_path / "pages" / "lineage.html")
    stands_alone_and_fits(page, tmp_path / "pages" / "lineage.html", width, scheme)
    assert page.locator("svg a").count() == len(graph.nodes) == 6
    assert page.locator("svg path").count() == sum(len(node.inputs) for node in graph.nodes.values())
    page.locator("svg a", has_text="grpo_finetuning").focus()
    page.keyboard.press("Enter")
    assert page.url.endswith(f"#{first.digests()['grpo_finetuning']}")
    shown = page.locator("section:target")
    assert first.outcome["run_id"] in shown.inner_text()
    shown.locator("summary").first.click()
    assert '"rollouts": 16' in shown.locator("pre").first.inner_text()


def test_the_code_that_made_a_version_can_be_had(root: Path, first: Finished, tmp_path: Path) -> None:
    told = cli("lineage", "sources", "tiny@2", str(tmp_path / "then"), "--root", str(root))
    assert told.returncode == 0, told.stderr
    assert "wrote config.yaml, flowmap, flowmap_pipelines, requirements.txt to" in told.stdout
    here = Path(flowmap.__file__).parent
    assert (tmp_path / "then" / "flowmap" / "errors.py").read_bytes() == (here / "errors.py").read_bytes()
    listed = (tmp_path / "then" / "requirements.txt").read_text()
    assert f"torch=={version('torch').partition('+')[0]}" in listed
    assert "flowmap==" not in listed
    planned = cli("plan", str(tmp_path / "then" / "config.yaml"), "--root", str(root))
    assert planned.returncode == 0, planned.stderr
    again = cli("lineage", "sources", "tiny@2", str(tmp_path / "then"), "--root", str(root))
    assert again.returncode == 2
    assert "is not empty" in again.stderr


@pytest.mark.slow
def test_a_version_is_made_again_with_the_code_of_then(root: Path, first: Finished, tmp_path: Path) -> None:
    """By somebody whose flowmap is another one, which would come to something else."""
    for package in (flowmap, flowmap_pipelines):
        folder = Path(str(package.__file__)).parent
        shutil.copytree(folder, tmp_path / "later" / folder.name)
    seeding = tmp_path / "later" / "flowmap" / "seeding.py"
    assert "[:16]" in seeding.read_text()
    seeding.write_text(seeding.read_text().replace("[:16]", "[1:17]"))
    later = {"PYTHONPATH": str(tmp_path / "later")}
    arguments = ("lineage", "reproduce", "tiny@2", "--root", str(root), "--into", str(tmp_path / "again"))
    again = cli(*arguments, environment=later)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "running the code that ran then" in again.stderr
    steps = ("data_prep", "base_training", "reward_training", "grpo_finetuning")
    assert again.stdout.splitlines() == [f"{step} {first.digests()[step][:12]}: the same" for step in steps]
    refused = cli("lineage", "reproduce", "tiny@2", "--root", str(root), "--into", str(tmp_path / "again"))
    assert refused.returncode == 2
    assert "holds a store already" in refused.stderr
