"""What of a store may go: never what a version rests on, nor what a run made lately."""

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flowmap.artifacts.local_store import LocalStore
from flowmap.artifacts.manifest import Manifest, build_manifest, parse_manifest
from flowmap.artifacts.transfer import publish
from flowmap.audit.checking import check
from flowmap.audit.unneeded import Unneeded, remove, unneeded
from flowmap.errors import ConfigError, IntegrityError
from flowmap.registry import Registry, Rejection
from tests.cli import COMMAND, flowmap
from tests.clocks import Standing
from tests.faults import fault
from tests.pipeline.runs import Finished
from tests.records import record

DAY = timedelta(days=1)
HOLDER = """
import pathlib, sys, time
from flowmap_pipelines.local_run import one_run_at_a_time
with one_run_at_a_time(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""
LATER = datetime.now(UTC) + timedelta(days=40)


@pytest.fixture
def store(root: Path, first: Finished, tmp_path: Path) -> LocalStore:
    """That of a run that published, copied."""
    shutil.copytree(root / "store", tmp_path / "root" / "store")
    return LocalStore(tmp_path / "root" / "store")


def another_result(store: LocalStore, folder: Path, inputs: dict[str, str] | None = None) -> Manifest:
    """Of a step of a run that never published anything, with a pointer and a record."""
    folder.mkdir()
    (folder / "weights").write_bytes(folder.name.encode() * 1000)
    manifest = build_manifest(folder, step="grpo_finetuning", step_digest=folder.name)
    publish(store, folder, manifest)
    store.put(f"steps/{folder.name}.json", manifest.to_bytes())
    record(store, "grpo_finetuning", manifest.digest, inputs=inputs, step_digest=folder.name)
    return manifest


def kinds(found: list[Unneeded]) -> set[tuple[str, str]]:
    return {(each.kind, each.where) for each in found}


def test_what_versions_rest_on_stays_for_ever(store: LocalStore) -> None:
    """What the run that published said of itself too, which nothing is made of: an audit asks for it."""
    for each in unneeded(store, DAY, LATER):
        remove(store, each)
    versions = Registry(store, "tiny").versions()
    assert len(versions) == 2
    for version in versions:
        assert not check(store, version).faults
    steps = {parse_manifest(store.get(name), where=name).step for name in store.names("steps")}
    made = {"data_prep", "base_training", "reward_training", "grpo_finetuning", "evaluation"}
    assert steps == {*made, "registry_push"}


def test_other_results_go_and_what_points_to_them_first(store: LocalStore, tmp_path: Path) -> None:
    other = another_result(store, tmp_path / "other")
    store.put("checkpoints/grpo_finetuning/other/00000008/complete", b"")
    store.put("tensorboard/grpo_finetuning/other/events", b"curve")
    store.put("models/tiny/files/never/ema.safetensors", b"uploaded")
    torn = store.root / "artifacts" / "x" / ".writing-1"
    torn.parent.mkdir()
    torn.write_bytes(b"half")
    before = kinds(unneeded(store, DAY, LATER))
    assert before >= {
        ("result", f"artifacts/{other.digest}"),
        ("checkpoint", "checkpoints/grpo_finetuning/other"),
        ("curves", "tensorboard/grpo_finetuning/other"),
        ("model files", "models/tiny/files/never"),
        ("cut off", "artifacts/x/.writing-1"),
    }
    (mine,) = (each for each in unneeded(store, DAY, LATER) if other.digest in each.where)
    assert mine.names == (
        "steps/other.json",
        f"artifacts/{other.digest}/manifest.json",
        f"artifacts/{other.digest}/weights",
    )
    assert mine.size == 5000 + len(other.to_bytes())
    for each in unneeded(store, DAY, LATER):
        remove(store, each)
    assert not torn.exists()
    assert not list(store.names(f"artifacts/{other.digest}"))
    assert unneeded(store, DAY, LATER) == []


def test_what_is_young_and_what_a_run_used_lately_stays(store: LocalStore, tmp_path: Path) -> None:
    other = another_result(store, tmp_path / "other")
    store.put("artifacts/uploading/weights", b"what a step that goes on has written so far")
    store.put("checkpoints/grpo_finetuning/going-on/00000008/complete", b"")
    assert unneeded(store, DAY) == []
    assert ("result", "artifacts/uploading") in kinds(unneeded(store, DAY, LATER))
    assert ("result", f"artifacts/{other.digest}") in kinds(unneeded(store, DAY, LATER))
    # one more run, forty days later, that took it and what was made of it
    data = LocalStore(store.root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flowmap.lineage.recording.datetime", Standing(LATER - DAY / 2))
        record(data, "evaluation", "e" * 64, inputs={"model": other.digest})
    assert ("result", f"artifacts/{other.digest}") not in kinds(unneeded(store, DAY, LATER))


def test_the_last_rejected_candidate_stays_and_those_before_it_go(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(store, "tiny")
    made = [another_result(store, tmp_path / name) for name in ("one", "two")]
    for age, manifest in enumerate(made):
        rejection = Rejection(
            name="tiny",
            candidate=manifest.digest,
            evaluation=f"{age}" * 64,
            incumbent=None,
            verdict={},
            figures={},
        )
        monkeypatch.setattr("flowmap.registry.versions.datetime", Standing(datetime.now(UTC) + age * DAY))
        registry.reject(rejection)
    gone = kinds(unneeded(store, DAY, LATER))
    assert ("result", f"artifacts/{made[0].digest}") in gone
    assert ("result", f"artifacts/{made[1].digest}") not in gone


def test_nobody_deletes_where_a_record_is_damaged(store: LocalStore) -> None:
    name = next(name for name in store.names("lineage") if name.endswith(".json"))
    store.put(name, store.get(name).replace(b"step", b"stop"))
    with pytest.raises(IntegrityError, match="was changed after it was written"):
        unneeded(store, DAY, LATER)


@fault(
    "a process that holds a lock dies, while another waits or after",
    "the system frees it: the other goes on",
    of="rivals",
)
def test_nothing_is_deleted_while_a_run_goes_on_and_a_dead_one_holds_nobody_up(store: LocalStore) -> None:
    root = store.root.parent
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(root)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    deleting = subprocess.Popen(
        [*COMMAND, "gc", "--root", str(root), "--delete"], stderr=subprocess.PIPE, text=True
    )
    assert deleting.stderr is not None
    assert "another run works below" in deleting.stderr.readline()
    assert deleting.poll() is None
    holder.kill()
    assert deleting.wait(120) == 0
    holder.wait()


def test_less_than_a_day_may_be_a_run_that_goes_on(store: LocalStore) -> None:
    with pytest.raises(ConfigError, match="keep a day or more"):
        unneeded(store, timedelta(hours=23), LATER)


def test_the_command_tells_and_deletes_when_told(store: LocalStore, tmp_path: Path) -> None:
    other = another_result(store, tmp_path / "other")
    at = (datetime.now(UTC) - timedelta(days=50)).timestamp()
    for name in store.names(f"artifacts/{other.digest}"):
        os.utime(store.root / name, (at, at))
    for name in store.names("lineage"):
        if name.endswith(".json") and b'"step_digest": "other"' in store.get(name):
            (store.root / name).unlink()
    for name in store.names(f"lineage/made/{other.digest}"):
        (store.root / name).unlink()
    arguments = ("gc", "--root", str(store.root.parent))
    told = flowmap(*arguments)
    assert told.returncode == 0, told.stderr
    assert f"would delete result artifacts/{other.digest}: 5." in told.stdout
    assert "kB would be freed: say --delete" in told.stdout
    assert store.exists("steps/other.json")
    done = flowmap(*arguments, "--delete")
    assert "kB were freed" in done.stdout
    assert not store.exists("steps/other.json")
    assert "is unneeded" in flowmap(*arguments).stdout
    assert flowmap(*arguments, "--keep", "1h").returncode == 2
    for wrong, words in (
        ("--dry-run", "does not go with a store"),
        ("--cluster", "does not go with --cluster"),
    ):
        refused = flowmap(*arguments, "--delete", wrong)
        assert refused.returncode == 2
        assert words in refused.stderr
