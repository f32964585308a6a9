"""Every step of the tiny pipeline in its image: restricted pods with a read-only root, all bytes through the
store.

What Kubeflow does between the steps, handing manifests on, the test does itself.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from flowmap.artifacts.manifest import Manifest, parse_manifest
from flowmap.artifacts.store import ObjectStore, open_store
from flowmap.artifacts.transfer import artifact_prefix
from flowmap.lineage.record import run_records
from flowmap.settings import RunConfig, load_config
from flowmap.steps.dag import PIPELINE, PROMOTE, sources_of
from flowmap.steps.step import Step
from flowmap_pipelines.image_lock import Images
from flowmap_pipelines.profile import load_profile
from tests.cluster.conftest import wait_for_pod
from tests.pipeline.runs import CONFIG, run

PROGRAM = """
import json, os, sys
from pathlib import Path
from types import SimpleNamespace
from flowmap.steps.frame import execute
told = json.loads(os.environ["TOLD"])
def carrier(name, text=None):
    path = Path("/scratch") / name
    if text is not None:
        path.write_text(text)
    return SimpleNamespace(path=str(path), metadata={})
inputs = {name: carrier(name, text) for name, text in told["inputs"].items()}
execute(told["step"], told["settings"], inputs, carrier("output"), function=told["function"])
"""


def pod_of(step: str, run_id: str, image: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """A pod as the profile cluster-cpu has it, with less memory reserved."""
    profile = load_profile("cluster-cpu").step(step)
    keys = {"AWS_ACCESS_KEY_ID": "access-key", "AWS_SECRET_ACCESS_KEY": "secret-key"}
    environment: list[dict[str, Any]] = [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": profile.store_secret, "key": key}}}
        for name, key in keys.items()
    ]
    environment += [{"name": name, "value": "/scratch"} for name in ("HOME", "TMPDIR", "MPLCONFIGDIR")]
    url = {"configMapKeyRef": {"name": "flowmap-store", "key": "url"}}
    environment += [{"name": "FLOWMAP_STORE", "valueFrom": url}, {"name": "FLOWMAP_RUN_ID", "value": run_id}]
    environment += [{"name": "FLOWMAP_LOG_FORMAT", "value": "json"}]
    environment += [{"name": "TOLD", "value": json.dumps(told)}, {"name": "OMP_NUM_THREADS", "value": "1"}]
    container = {
        "name": "step",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", PROGRAM],
        "env": environment,
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "4Gi"}},
        "volumeMounts": [
            {"name": "scratch", "mountPath": "/scratch"},
            {"name": "shared-memory", "mountPath": "/dev/shm"},
        ],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    return {
        "metadata": {
            "name": f"{run_id}-{step}".replace("_", "-"),
            "labels": {"app.kubernetes.io/part-of": "flowmap"},
        },
        "spec": {
            "restartPolicy": "Never",
            "serviceAccountName": "flowmap",
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": profile.run_as_user,
                "runAsGroup": profile.run_as_user,
                "fsGroup": profile.run_as_user,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [
                {"name": "scratch", "emptyDir": {"sizeLimit": profile.scratch}},
                {
                    "name": "shared-memory",
                    "emptyDir": {"medium": "Memory", "sizeLimit": profile.shared_memory},
                },
            ],
        },
    }


@pytest.fixture(scope="module")
def manifests(
    chart: Any, core: client.CoreV1Api, namespace: str, images: Images, store_url: str, tmp_path_factory: Any
) -> dict[str, Manifest]:
    """What each step's pod came to."""
    config = tmp_path_factory.mktemp("config") / "tiny.yaml"
    config.write_text(CONFIG)
    steps = [each for each in PIPELINE if each.when in (None, PROMOTE)]
    return in_pods(load_config(config), steps, core, namespace, images, open_store(store_url))


def in_pods(
    config: RunConfig,
    steps: Sequence[Step],
    core: client.CoreV1Api,
    namespace: str,
    images: Images,
    store: ObjectStore,
) -> dict[str, Manifest]:
    """What steps come to, each in a pod of its image, one after the other."""
    settings, made = config.to_json(), dict[str, Manifest]()
    for each in steps:
        step, sources = each.name, sources_of(each)
        inputs = {source.output: made[source.name].to_bytes().decode() for source in sources}
        told = {"step": step, "settings": settings, "inputs": inputs, "function": each.function}
        image = images.of(load_profile("cluster-cpu").step(step).image)
        pod = pod_of(step, config.name, image, told)
        core.create_namespaced_pod(namespace, pod)
        phase, log = wait_for_pod(core, namespace, pod["metadata"]["name"])
        assert phase == "Succeeded", log
        lines = [json.loads(line) for line in log.splitlines() if line.startswith('{"time"')]
        assert {(line["run"], line["step"]) for line in lines if "step" in line} == {(config.name, step)}, (
            log
        )
        prefix = artifact_prefix(run_records(store, config.name)[step].output)
        made[step] = parse_manifest(store.get(f"{prefix}/manifest.json"), where=step)
    return made


def test_the_pods_come_to_what_a_run_on_this_machine_comes_to(
    manifests: dict[str, Manifest], tmp_path: Path
) -> None:
    """Same processor, same libraries, same code: the same bytes. Another processor may round otherwise."""
    here = run(tmp_path / "root")
    assert {step: manifest.digest for step, manifest in manifests.items()} == here.digests()


def test_a_checkout_reuses_what_the_pods_made(
    manifests: dict[str, Manifest], store_url: str, tmp_path: Path
) -> None:
    again = run(tmp_path / "root", environment={"FLOWMAP_STORE": store_url})
    assert again.status == 0, again.told
    assert again.reused() == set(manifests) - {"registry_push"}
    assert again.outcome["outcome"] == "already promoted"


def test_the_job_that_argo_events_would_make_is_one(namespace: str) -> None:
    _, sensor = yaml.safe_load_all(
        (Path(__file__).parents[2] / "docs" / "ci" / "argo-events.yaml").read_text()
    )
    job = sensor["spec"]["triggers"][0]["template"]["k8s"]["source"]["resource"]
    strict = {"dry_run": "All", "field_validation": "Strict"}
    made = client.BatchV1Api().create_namespaced_job(namespace, job, **strict)
    assert made.spec.template.spec.containers[0].command[:2] == ["flowmap", "submit"]
