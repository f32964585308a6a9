"""Schedules on a real Kubeflow Pipelines: they fire, are replaced, paused and deleted."""

import json
import time
from typing import Any

from tests.kubeflow.conftest import Flowmap

NAME = ("--set", "name=scheduled")


def schedule(flowmap: Flowmap, cron: str) -> str:
    return flowmap("schedule", "tiny.yaml", "--cron", cron, "--profile", "local", *NAME)


def listed(flowmap: Flowmap) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(flowmap("schedule", "list", "--json"))
    return found


def runs(flowmap: Flowmap) -> list[dict[str, Any]]:
    """The schedule's runs: Kubeflow names each after the schedule."""
    found = json.loads(flowmap("status", "--json", "-n", "100"))
    return [run for run in found if run["name"].startswith("scheduled")]


def test_a_schedule_fires_is_replaced_paused_and_deleted(flowmap: Flowmap) -> None:
    assert "first on" in schedule(flowmap, "0 3 1 1 *")
    assert not runs(flowmap)
    assert "in place of" in schedule(flowmap, "* * * * *")
    assert listed(flowmap) == [{"name": "scheduled", "cron": "* * * * * UTC", "enabled": True}]
    until = time.monotonic() + 180
    while not (fired := runs(flowmap)):
        assert time.monotonic() < until
        time.sleep(3)
    flowmap("schedule", "pause", "scheduled")
    assert not listed(flowmap)[0]["enabled"]
    refused = flowmap.try_("schedule", "delete", "scheduled")
    assert refused.returncode == 1
    assert "a run of it goes on" in refused.stderr
    flowmap("cancel", fired[0]["run"])
    while flowmap.try_("schedule", "delete", "scheduled").returncode:
        assert time.monotonic() < until + 120
        time.sleep(5)
    assert listed(flowmap) == []
