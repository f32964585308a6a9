"""A real run's version as OpenLineage events: what the format asks for, and a catalogue that takes them."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowmap.lineage.record import run_records
from tests.cli import flowmap as cli
from tests.pipeline.runs import Finished, registry


@pytest.fixture
def catalogue() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Its address, and what it was sent; it takes everything but what is posted below /full."""
    taken: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            is_full = self.path.startswith("/full")
            if not is_full:
                taken.append(json.loads(body))
            self.send_response(422 if is_full else 201)
            self.end_headers()

        def log_message(self, *told: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", taken
        server.shutdown()


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
