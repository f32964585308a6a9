"""A real run's version as OpenLineage events: what the format asks for, and a catalogue that takes them."""

import json
from pathlib import Path
from typing import Any

from flowmap.lineage.record import run_records
from tests.cli import flowmap as cli
from tests.pipeline.runs import Finished, registry


def exported(root: Path) -> list[dict[str, Any]]:
    done = cli("lineage", "export", "tiny@2", "--root", str(root))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_run_of_a_step_has_a_start_an_end_and_what_it_took_and_made(
    root: Path, first: Finished
) -> None:
    told, made = exported(root), first.digests()
    ended = {each["job"]["name"]: each for each in told if each["eventType"] == "COMPLETE"}
    assert set(ended) == {
        f"tiny.{step}"
        for step in ("data_prep", "base_training", "reward_training", "grpo_finetuning", "evaluation")
    }
    assert len(told) == 2 * len(ended)
    store = registry(root).store
    records = run_records(store, first.outcome["run_id"])
    for name, event in ended.items():
        step = name.removeprefix("tiny.")
        (output,) = event["outputs"]
        assert output["name"] == f"{step}/{made[step]}"
        assert output["namespace"] == store.url
        assert output["facets"]["version"]["datasetVersion"] == made[step]
        used = {each["name"].split("/")[1] for each in event["inputs"]}
        assert used == {each for each in records[step].inputs.values() if len(each) == 64}
        tags = {each["key"]: each["value"] for each in event["run"]["facets"]["tags"]["tags"]}
        assert tags["step digest"] == records[step].step_digest
        assert tags["code"] == records[step].code_version
        assert event["schemaURL"].startswith("https://openlineage.io/spec/")
    parents = {each["run"]["facets"]["parent"]["run"]["runId"] for each in told}
    assert len(parents) == 1
    assert {each["run"]["runId"] for each in told if each["eventType"] == "START"} == {
        each["run"]["runId"] for each in ended.values()
    }


def test_what_is_sent_again_says_the_same(
    root: Path, first: Finished, catalogue: tuple[str, list[dict[str, Any]]]
) -> None:
    url, taken = catalogue
    for _ in range(2):
        done = cli("lineage", "export", "tiny@2", "--send", url, "--root", str(root))
        assert done.returncode == 0, done.stderr
        assert f"sent 10 events to {url}" in done.stdout
    assert taken[:10] == taken[10:]
    assert [(each["run"]["runId"], each["eventType"]) for each in taken[:10]] == [
        (each["run"]["runId"], each["eventType"]) for each in exported(root)
    ]


def test_a_catalogue_that_takes_none_is_told(
    root: Path, first: Finished, catalogue: tuple[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    url, taken = catalogue
    done = cli("lineage", "export", "tiny@2", "--send", f"{url}/full", "--root", str(root))
    assert done.returncode == 1
    assert f"{url}/full did not take the event of tiny.data_prep" in done.stderr
    assert "Traceback" not in done.stderr
    assert not taken
    both = ("-o", str(tmp_path / "x.jsonl"), "--send", url)
    assert cli("lineage", "export", "tiny@2", *both, "--root", str(root)).returncode == 2
    assert cli("lineage", "export", "tiny@2", *both[:2], "--root", str(root)).returncode == 0
    assert len((tmp_path / "x.jsonl").read_text().splitlines()) == 10
