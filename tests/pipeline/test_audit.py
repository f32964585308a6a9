"""An audit of a real run's store: whole as it is, and every object in it damaged, one at a time."""

import json
import shutil
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import pandas as pd
import pytest
import torch
from playwright.sync_api import Page

import flowmap
import flowmap_pipelines
from flowmap.artifacts.digest import sha256_of
from flowmap.artifacts.local_store import LocalStore
from flowmap.artifacts.manifest import build_manifest
from flowmap.artifacts.transfer import publish
from flowmap.audit.checking import check
from flowmap.audit.difference import differences
from flowmap.audit.faults import Audit
from flowmap.audit.graph import Graph, trace
from flowmap.audit.impact import impact
from flowmap.lineage.edges import add_missing_edges, makers
from flowmap.lineage.record import RECORDS, write_edges
from flowmap_pipelines.lineage_page import write_lineage_page
from tests.browser import stands_alone_and_fits
from tests.cli import flowmap as cli
from tests.faults import fault
from tests.pipeline.runs import Finished, damaged, registry, run
from tests.records import record

# What a run does without, or checks itself each time: no part of what a version rests on.
ASIDE = ("checkpoints/", "tensorboard/", "runs/", "steps/")


def audit(root: Path, reference: str = "production") -> Audit:
    versions = registry(root)
    return check(versions.store, versions.resolve(reference))


def lineage(root: Path) -> Graph:
    versions = registry(root)
    return trace(versions.store, versions.resolve("2"))


def test_a_run_is_whole_and_all_of_it_is_looked_at(root: Path, first: Finished) -> None:
    found = audit(root)
    assert not found.faults
    assert (found.num_artifacts, found.num_records, found.num_versions) == (6, 6, 1)
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
    made = first.digests()
    shown = cli("lineage", "show", "tiny@2", "--root", str(root))
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.splitlines()[0].startswith("tiny@2 ")
    assert f"   └─ tuned: grpo_finetuning {made['grpo_finetuning'][:12]}" in shown.stdout
    assert shown.stdout.rstrip().endswith("(above)")
    nodes = json.loads(cli("lineage", "show", "tiny@2", "--json", "--root", str(root)).stdout)["nodes"]
    assert len(nodes) == 6
    dot = cli("lineage", "show", "tiny@2", "--dot", "--root", str(root)).stdout
    assert dot.startswith("digraph lineage {")
    assert dot.rstrip().endswith("}")
    assert f'  "{made["data_prep"]}" -> "{made["base_training"]}" [label="data"];\n' in dot
    verified = cli("lineage", "verify", "--root", str(root))
    assert verified.returncode == 0, verified.stdout
    assert [line.split(":")[0] for line in verified.stdout.splitlines()] == ["tiny@1", "tiny@2"]
    assert verified.stdout.count("all whole") == 2
    data = root / "store" / "artifacts" / made["data_prep"]
    with damaged(max(data.iterdir(), key=lambda file: file.stat().st_size), "flipped"):
        refused = cli("lineage", "verify", "tiny", "--root", str(root))
    assert refused.returncode == 1
    assert "FAULT  artifacts/" in refused.stdout
    touched = cli("lineage", "impact", made["data_prep"][:10], "--root", str(root))
    assert "went into the weights of: tiny@1, tiny@2" in touched.stdout
    of_base = cli("lineage", "impact", "tiny@1", "--root", str(root))
    assert "went into the weights of: tiny@1, tiny@2\n" in of_base.stdout
    differ = cli("lineage", "diff", "tiny@1", "tiny@2", "--root", str(root))
    assert differ.stdout == "version: weights of: base_training -> grpo_finetuning\n"


def test_how_the_data_of_two_versions_differ(root: Path, first: Finished) -> None:
    arguments = ("data", "diff", "tiny@1", first.digests()["data_prep"][:12], "--root", str(root))
    told = cli(*arguments, "--max-psi", "0.1")
    assert told.returncode == 0, told.stderr
    assert "1,797 data before, 1,797 now: 0 came, 0 went" in told.stdout
    assert "brightness did not move: 0.000" in told.stdout
    assert json.loads(cli(*arguments, "--json").stdout)["data"]["shared"] == 1797
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


def test_what_came_of_a_file_that_lies_here(root: Path, first: Finished, tmp_path: Path) -> None:
    """Weights as they were published, and a datum under the name that the table has for it."""
    registry(root).download(registry(root).resolve("2"), tmp_path)
    (tmp_path / "ema.safetensors").rename(tmp_path / "got.safetensors")
    found = cli("lineage", "impact", str(tmp_path / "got.safetensors"), "--root", str(root))
    assert "went into the weights of: tiny@2\n" in found.stdout
    data = first.digests()["data_prep"]
    table = pd.read_parquet(root / "store" / "artifacts" / data / "table.parquet")
    (tmp_path / table["id"].iloc[0]).write_text("a picture")
    found = cli("lineage", "impact", str(tmp_path / table["id"].iloc[0]), "--root", str(root))
    assert f"of data {data[:12]}" in found.stdout
    (tmp_path / "other.png").write_text("nobody's")
    assert cli("lineage", "impact", str(tmp_path / "other.png"), "--root", str(root)).returncode == 2


def test_a_file_that_several_versions_have_is_of_none_of_them_alone(
    root: Path, first: Finished, tmp_path: Path
) -> None:
    """As the autoencoder that all of a house's models share."""
    store = LocalStore(tmp_path / "root" / "store")
    shutil.copytree(root / "store", store.root)
    versions = registry(tmp_path / "root")
    name = "models/tiny/2/version.json"
    told = json.loads(store.get(name))
    told["manifest"]["files"] = versions.resolve("1").manifest.model_dump(mode="json")["files"]
    store.put(name, json.dumps(told).encode())
    versions.download(versions.resolve("1"), tmp_path / "got", ["model.json"])
    asked = cli("lineage", "impact", str(tmp_path / "got" / "model.json"), "--root", str(tmp_path / "root"))
    assert asked.returncode == 2
    assert "is published with tiny@1, tiny@2: name one of them" in asked.stderr


def test_who_saw_a_picture_with_a_caption_is_told_by_the_artifact_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a bundle too, which knows no results of steps."""
    store, picture = LocalStore(tmp_path / "store"), tmp_path / "mine.png"
    picture.write_bytes(b"pixels")
    table = pd.DataFrame({"id": ["cats/007.png"], "digest": [sha256_of(b"pixels")], "caption": ["a cat"]})
    (tmp_path / "out").mkdir()
    table.to_parquet(tmp_path / "out" / "captioned.parquet")
    manifest = build_manifest(tmp_path / "out", step="data_prep", step_digest="s")
    publish(store, tmp_path / "out", manifest)
    data = manifest.digest
    record(store, "data_prep", data)
    record(store, "base_training", "b" * 64, inputs={"data": data})
    # One that an upload was killed in has no manifest yet, and a file of the datum's name may lie here.
    store.put(f"artifacts/{'c' * 64}/captioned.parquet", b"half")
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "007.png").write_bytes(b"smaller")
    monkeypatch.chdir(tmp_path)
    for asked in ("cats/007.png", sha256_of(b"pixels")[:10], str(picture)):
        found = cli("lineage", "impact", asked, "--json", "--root", str(tmp_path))
        (holder,) = json.loads(found.stdout)
        assert (holder["name"], holder["split"], holder["data"]) == ("cats/007.png", "base", data)
        assert "b" * 64 in holder["artifacts"]


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


@fault(
    "artifacts are made of each other, by records that somebody forged",
    "`verify`, `diff` and `reproduce` name them",
    of="writing",
)
def test_artifacts_that_are_made_of_each_other_are_found_by_whoever_asks(
    root: Path, first: Finished, tmp_path: Path
) -> None:
    shutil.copytree(root / "store", tmp_path / "root" / "store")
    store, made = LocalStore(tmp_path / "root" / "store"), first.digests()
    (record,) = makers(store, made["data_prep"]).values()
    forged = record.model_copy(
        update={"inputs": {"later": made["grpo_finetuning"]}, "finished_at": "2000-01-01T00:00:00.000+00:00"}
    )
    data = forged.model_dump_json(indent=1).encode()
    store.create(f"{RECORDS}/{sha256_of(data)}.json", data)
    write_edges(store, sha256_of(data), forged)
    where = ("--root", str(tmp_path / "root"))
    verified = cli("lineage", "verify", "tiny@2", *where)
    assert verified.returncode == 1
    assert "artifacts are made of each other" in verified.stdout
    assert cli("lineage", "show", "tiny@2", *where, "--html", str(tmp_path / "page.html")).returncode == 0
    for command in (("diff", "tiny@2", "tiny@1"), ("reproduce", "tiny@2")):
        refused = cli("lineage", *command, *where)
        assert refused.returncode == 1
        assert "artifacts are made of each other" in refused.stderr
        assert "Traceback" not in refused.stderr


def test_another_name_that_shares_its_evaluation_is_another_model(
    root: Path, first: Finished, tmp_path: Path
) -> None:
    shutil.copytree(root / "store", tmp_path / "root" / "store")
    other = run(tmp_path / "root", "name=letters", "registry_push.alias=staging")
    assert other.status == 0, other.told
    assert other.digests()["evaluation"] == first.digests()["evaluation"]
    verified = cli("lineage", "verify", "--root", str(tmp_path / "root"))
    assert verified.returncode == 0, verified.stdout
    assert verified.stdout.count("all whole") == 4


needs_avx512 = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() != "AVX512", reason="there are no instructions to leave out here"
)


@fault(
    "one step comes to other bytes with other instructions of a processor",
    "both results are kept, and `verify` finds both whole",
    of="rivals",
)
@needs_avx512
def test_two_honest_results_of_one_step_are_both_kept_and_both_whole(
    root: Path, first: Finished, tmp_path: Path
) -> None:
    """The same evaluation with other instructions of the processor comes to other bytes."""
    shutil.copytree(root / "store", tmp_path / "root" / "store")
    store, made = LocalStore(tmp_path / "root" / "store"), first.digests()
    (record,) = makers(store, made["evaluation"]).values()
    store.delete(f"steps/{record.step_digest}.json")
    other = run(tmp_path / "root", environment={"ATEN_CPU_CAPABILITY": "avx2"})
    assert (other.status, other.outcome["outcome"]) == (0, "already promoted")
    assert other.digests()["evaluation"] != made["evaluation"]
    (again,) = makers(store, other.digests()["evaluation"]).values()
    assert (again.step_digest, again.instruction_set) == (record.step_digest, "AVX2")
    assert record.instruction_set == "AVX512"
    verified = cli("lineage", "verify", "tiny", "--root", str(tmp_path / "root"))
    assert verified.returncode == 0, verified.stdout


@needs_avx512
@pytest.mark.slow
def test_on_another_kind_of_machine_figures_are_compared(
    root: Path, first: Finished, tmp_path: Path
) -> None:
    arguments = ("lineage", "reproduce", "tiny@2", "--root", str(root), "--into", str(tmp_path / "again"))
    again = cli(*arguments, environment={"ATEN_CPU_CAPABILITY": "default"})
    told = again.stdout.splitlines()
    assert f"data_prep {first.digests()['data_prep'][:12]}: the same" in told
    (trained,) = (line for line in told if line.startswith("base_training"))
    assert "not the same" in trained
    assert any("another kind of machine, AVX512 with" in line and "DEFAULT with" in line for line in told)
    figures = {line.split()[0]: line for line in told if " then, " in line and " now: " in line}
    assert set(figures) == {"judge_accuracy", "recall", "fd_judge", "diversity"}
    assert again.returncode == int(any("not within" in line for line in figures.values())), again.stdout


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
    steps = ("data_prep", "base_training", "reward_training", "grpo_finetuning", "evaluation")
    assert again.stdout.splitlines() == [f"{step} {first.digests()[step][:12]}: the same" for step in steps]
    refused = cli("lineage", "reproduce", "tiny@2", "--root", str(root), "--into", str(tmp_path / "again"))
    assert refused.returncode == 2
    assert "holds a store already" in refused.stderr
