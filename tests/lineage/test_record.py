"""What a record says of the machine, and what is stated of that."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from flowmap.artifacts.digest import sha256_of
from flowmap.artifacts.local_store import LocalStore
from flowmap.lineage.record import StepRecord
from flowmap.lineage.recording import record_step
from flowmap.lineage.statement import statement_of_run
from flowmap.machine import computed_with
from flowmap.settings import environment

IMAGE = f"registry.example.com/flowmap-train@sha256:{'5' * 64}"


def written(folder: Path, **more: Any) -> StepRecord:
    return record_step(
        LocalStore(folder / "store"),
        step_digest="d" * 64,
        decided={"step": "evaluation", "function": "run", "code": "c" * 64, "section": {}, "inputs": {}},
        config={},
        output="a" * 64,
        reused=False,
        wall_s=1.0,
        work_s=1.0,
        machine=more.pop("machine", computed_with()),
        **more,
    )


def definition(record: StepRecord) -> Any:
    return json.loads(statement_of_run("e" * 64, record))["predicate"]["buildDefinition"]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with a GPU, as torch and its driver's tool tell of it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100 80GB HBM3")
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\n[ "$1" = --query-gpu=driver_version ] && echo 570.86.15 && echo 570.86.15\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:/bin:/usr/bin")


@pytest.mark.usefixtures("gpu")
def test_gpu_driver_and_image_are_on_record_and_stated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(environment.IMAGE, IMAGE)
    record = written(tmp_path)
    assert (record.gpu, record.driver, record.image) == ("NVIDIA H100 80GB HBM3", "570.86.15", IMAGE)
    told = definition(record)
    assert told["internalParameters"]["gpu"] == "NVIDIA H100 80GB HBM3"
    assert told["internalParameters"]["driver"] == "570.86.15"
    name, _, digest = IMAGE.partition("@sha256:")
    expected = {"name": "image", "uri": name, "digest": {"sha256": digest}}
    assert expected in told["resolvedDependencies"]


@pytest.mark.usefixtures("gpu")
def test_a_driver_that_nobody_tells_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    record = written(tmp_path)
    assert (record.gpu, record.driver) == ("NVIDIA H100 80GB HBM3", None)


def test_without_any_the_statement_is_what_it_was(tmp_path: Path) -> None:
    """Those that were signed by a flowmap which knew none of it are made again, byte for byte."""
    told = definition(written(tmp_path))
    assert "gpu" not in told["internalParameters"]
    assert "image" not in [each["name"] for each in told["resolvedDependencies"]]


def test_a_statement_lies_beside_each_record_under_its_digest(tmp_path: Path) -> None:
    """Whether there is a key or not: what a step did can be signed later, by whoever has one."""
    record, store = written(tmp_path), LocalStore(tmp_path / "store")
    (digest,) = (sha256_of(store.get(name)) for name in store.names("lineage") if name.count("/") == 1)
    (name,) = store.names(f"lineage/statements/{digest}")
    assert name.endswith(f"/{sha256_of(store.get(name))}.statement.json")
    assert store.get(name) == statement_of_run(digest, record)
    assert record.is_stated


def test_what_was_expected_of_data_is_stated(tmp_path: Path) -> None:
    rows = [{"expectation": "expect_column_max_to_be_between", "column": "mean", "num_rows": 1797}]
    told = json.loads(statement_of_run("e" * 64, written(tmp_path, expectations=rows)))
    (found,) = [
        each for each in told["predicate"]["runDetails"]["byproducts"] if each["name"] == "expectations"
    ]
    assert found["annotations"] == {"step": "evaluation", "met": rows}
    none = json.loads(statement_of_run("e" * 64, written(tmp_path / "other")))
    assert [each["name"] for each in none["predicate"]["runDetails"]["byproducts"]] == ["record"]


def test_when_it_began_and_ended_is_stated(tmp_path: Path) -> None:
    record = written(tmp_path)
    told = json.loads(statement_of_run("e" * 64, record))["predicate"]["runDetails"]["metadata"]
    assert (told["startedOn"], told["finishedOn"]) == (record.started_at, record.finished_at)
    assert record.started_at is not None
    taken = datetime.fromisoformat(record.finished_at) - datetime.fromisoformat(record.started_at)
    assert taken.total_seconds() == pytest.approx(record.wall_s, abs=0.002)
    older = record.model_copy(update={"started_at": None})
    assert b"startedOn" not in statement_of_run("e" * 64, older)
