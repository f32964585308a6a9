"""Schedules on a real Kubeflow Pipelines: they fire, are replaced, paused and deleted."""

import json
import time
from typing import Any

from tests.kubeflow.conftest import Flowmap

NAME = f"scheduled-{time.time_ns() % 10**9}"  # of which no run is known yet; Kubeflow keeps 25 letters of it


def schedule(flowmap: Flowmap, cron: str, *words: str) -> str:
    return flowmap(
        "schedule", "tiny.yaml", "--cron", cron, "--profile", "local", "--set", f"name={NAME}", *words
    )


def listed(flowmap: Flowmap) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(flowmap("schedule", "list", "--json"))
    return found


def runs(flowmap: Flowmap) -> list[dict[str, Any]]:
    """The schedule's runs: Kubeflow names each after the schedule."""
    found = json.loads(flowmap("status", "--json", "-n", "100"))
    return [run for run in found if run["name"].startswith(NAME)]


def fired(flowmap: Flowmap, known: int = 0) -> dict[str, Any]:
    until = time.monotonic() + 180
    while len(found := runs(flowmap)) == known:
        assert time.monotonic() < until
        time.sleep(3)
    return found[0]


def deleted(flowmap: Flowmap) -> None:
    until = time.monotonic() + 300
    while flowmap.try_("schedule", "delete", NAME).returncode:
        assert time.monotonic() < until
        time.sleep(5)
    assert listed(flowmap) == []


def test_a_schedule_fires_is_replaced_paused_and_deleted(flowmap: Flowmap) -> None:
    assert "first on" in schedule(flowmap, "0 3 1 1 *")
    assert not runs(flowmap)
    assert "in place of" in schedule(flowmap, "* * * * *")
    assert listed(flowmap) == [{"name": NAME, "cron": "* * * * * UTC", "enabled": True}]
    run = fired(flowmap)
    flowmap("schedule", "pause", NAME)
    assert not listed(flowmap)[0]["enabled"]
    refused = flowmap.try_("schedule", "delete", NAME)
    assert refused.returncode == 1
    assert "a run of it goes on" in refused.stderr
    flowmap("cancel", run["run"])
    deleted(flowmap)


def test_a_schedule_that_watches_data_trains_on_those(flowmap: Flowmap, store_url: str) -> None:
    """There are none, which the run's first step says; that unchanged data are not trained on again:
    test_runs.py."""
    watched, before = store_url.replace("?", "/nothing?"), len(runs(flowmap))
    told = schedule(flowmap, "* * * * *", "--on-change", watched)
    assert f"trains when what lies in {watched} has changed" in told
    run = fired(flowmap, before)["run"]
    flowmap("schedule", "pause", NAME)
    until = time.monotonic() + 300
    while not (ended := json.loads(flowmap("status", run, "--json")))["outcome"]:
        assert time.monotonic() < until
        time.sleep(3)
    assert ended["outcome"] == "failed"
    assert f"{watched}: there is no such object" in flowmap("logs", run, "data_prep")
    deleted(flowmap)
