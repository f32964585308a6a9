"""Steps that can't start: Kubeflow waits for ever and says nothing; the command line says why within a
minute."""

import json
import time

import pytest
import yaml
from kubernetes import client

from flowmap_pipelines.profile import shipped_profiles
from tests.cluster.conftest import run_cron_job
from tests.kubeflow.conftest import Flowmap


def trouble(flowmap: Flowmap, run_id: str) -> str:
    """What is said of data_prep, which is looked for until it is."""
    until = time.monotonic() + 120
    while True:
        steps = json.loads(flowmap("status", run_id, "--json"))["steps"]
        if told := steps.get("data_prep", {}).get("trouble"):
            return str(told)
        assert time.monotonic() < until, steps
        time.sleep(2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"store_secret": "absent"},
            "a Secret or ConfigMap it needs is missing (CreateContainerConfigError",
        ),
        ({"gpu": {"type": "nvidia.com/gpu", "count": 1}}, "waits for a machine: "),
    ],
)
def test_a_pod_that_can_not_start_says_why(flowmap: Flowmap, change: dict[str, object], said: str) -> None:
    profile = yaml.safe_load(shipped_profiles()["local"].read_text())
    profile["steps"]["data_prep"] = change
    (flowmap.folder / "broken.yaml").write_text(yaml.safe_dump(profile))
    run_id = json.loads(flowmap("submit", "tiny.yaml", "--profile", "broken.yaml", "--json"))["run"]
    assert said in trouble(flowmap, run_id)
    assert "can't start" in flowmap("status", run_id)
    flowmap("cancel", run_id)


def test_an_image_that_is_not_there_is_said_within_a_minute(flowmap: Flowmap) -> None:
    lock = flowmap.folder / "absent.lock"
    lock.write_text(f"cpu: localhost/absent@sha256:{'0' * 64}\ntrain: localhost/absent@sha256:{'0' * 64}\n")
    words = ("submit", "tiny.yaml", "--profile", "local", "--images", "absent.lock", "--json")
    run_id = json.loads(flowmap(*words))["run"]
    assert "its image can't be pulled" in trouble(flowmap, run_id)
    flowmap("cancel", run_id)


def test_the_charts_retraining_submits_once(
    flowmap: Flowmap, core: client.CoreV1Api, namespace: str
) -> None:
    """As long as nothing changed, for that is what it was told."""
    phase, log = run_cron_job(core, namespace, "flowmap-retraining")
    assert phase == "Succeeded", log
    assert "started: http" in log
    phase, log = run_cron_job(core, namespace, "flowmap-retraining")
    assert phase == "Succeeded", log
    assert "known already: http" in log
    flowmap("cancel", log.split("/runs/details/")[1].split()[0])
