"""The chart on a real Kubernetes: installed, tested, upgraded, gone; and what its account may do."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from kubernetes import client

from tests.cluster.conftest import run_cron_job

Helm = Callable[..., CompletedProcess[str]]
PREVIOUS = Path(__file__).parent / "charts" / "flowmap-0.1.0.tgz"
ACCOUNTS = {"steps": "flowmap", "reaper": "flowmap-reaper"}


def test_helm_test_uses_the_store_and_asks_what_the_account_may_do(chart: Helm) -> None:
    done = chart("test", "--timeout", "10m")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Phase:          Succeeded") == 3


def test_an_upgrade_keeps_what_was_set(
    chart: Helm, core: client.CoreV1Api, namespace: str, store_url: str
) -> None:
    done = chart("upgrade", "--set", "resourceQuota.enabled=true")
    assert done.returncode == 0, done.stderr
    assert core.read_namespaced_config_map("flowmap-store", namespace).data == {"url": store_url}
    hard = core.read_namespaced_resource_quota("flowmap", namespace).spec.hard
    assert hard["requests.nvidia.com/gpu"] == "8"
    assert chart("upgrade").returncode == 0
    assert core.list_namespaced_resource_quota(namespace).items == []


def test_an_upgrade_from_the_version_before_keeps_everything(
    chart: Helm, core: client.CoreV1Api, namespace: str, store_url: str
) -> None:
    """Its package is kept here as it was; a new version of the chart comes with the one before."""
    assert chart("uninstall", "--wait").returncode == 0
    values = [
        "--set",
        f"store.endpoint={store_url.partition('endpoint=')[2]}",
        "--set",
        "resourceQuota.enabled=true",
    ]
    values += ["--set", f"image=r.example.com/cpu@sha256:{'0' * 64}"]
    done = chart("install", *values, package=PREVIOUS)
    assert done.returncode == 0, done.stderr
    account = core.read_namespaced_service_account("flowmap", namespace).metadata.uid
    done = chart("upgrade", "--reset-then-reuse-values")
    assert done.returncode == 0, done.stderr
    assert core.read_namespaced_service_account("flowmap", namespace).metadata.uid == account
    assert core.read_namespaced_config_map("flowmap-store", namespace).data == {"url": store_url}
    assert (
        core.read_namespaced_resource_quota("flowmap", namespace).spec.hard["requests.nvidia.com/gpu"] == "8"
    )
    assert (
        len(client.BatchV1Api().list_namespaced_cron_job(namespace).items) == 1
    )  # what is new is there too
    assert chart("upgrade", "--reset-values").returncode == 0


@pytest.mark.parametrize(
    ("who", "verb", "group", "resource", "name", "allowed"),
    [
        ("reaper", "list", "", "pods", "", True),
        ("reaper", "delete", "", "pods", "", True),
        ("reaper", "delete", "trainer.kubeflow.org", "trainjobs", "", True),
        ("reaper", "create", "trainer.kubeflow.org", "trainjobs", "", False),
        ("reaper", "get", "", "secrets", "flowmap-store", False),
        ("steps", "create", "argoproj.io", "workflowtaskresults", "", True),
        ("steps", "patch", "argoproj.io", "workflowtaskresults", "", True),
        ("steps", "get", "", "configmaps", "kfp-launcher", True),
        ("steps", "get", "", "secrets", "mlpipeline-minio-artifact", True),
        ("steps", "get", "", "secrets", "flowmap-store", False),
        ("steps", "get", "", "secrets", "flowmap-registry", False),
        ("steps", "list", "", "secrets", "", False),
        ("steps", "get", "", "configmaps", "flowmap-store", False),
        ("steps", "create", "", "pods", "", False),
        ("steps", "create", "", "pods/exec", "", False),
        ("steps", "delete", "", "pods", "", False),
        ("steps", "create", "rbac.authorization.k8s.io", "roles", "", False),
        ("steps", "create", "trainer.kubeflow.org", "trainjobs", "", True),
        ("steps", "delete", "trainer.kubeflow.org", "trainjobs", "", True),
        ("steps", "create", "trainer.kubeflow.org", "trainingruntimes", "", False),
        ("steps", "list", "", "pods", "", True),
        ("steps", "get", "", "pods/log", "", True),
    ],
)
def test_an_account_can_do_what_it_must_and_nothing_else(
    chart: Helm, namespace: str, who: str, verb: str, group: str, resource: str, name: str, allowed: bool
) -> None:
    what, _, part = resource.partition("/")
    asked = {
        "namespace": namespace,
        "verb": verb,
        "group": group,
        "resource": what,
        "subresource": part,
        "name": name,
    }
    review = {
        "spec": {"user": f"system:serviceaccount:{namespace}:{ACCOUNTS[who]}", "resourceAttributes": asked}
    }
    answer = client.AuthorizationV1Api().create_subject_access_review(review)
    assert answer.status.allowed is allowed


def test_the_reaper_runs_as_its_own_account(chart: Helm, core: client.CoreV1Api, namespace: str) -> None:
    phase, log = run_cron_job(core, namespace, "flowmap-reaper")
    assert phase == "Succeeded", log
    assert "nothing is left over in namespace" in log or "deleted" in log


def test_uninstalled_it_leaves_nothing(chart: Helm, core: client.CoreV1Api, namespace: str) -> None:
    assert chart("uninstall", "--wait").returncode == 0
    mine = {"label_selector": "app.kubernetes.io/instance=flowmap"}
    left = [
        *core.list_namespaced_config_map(namespace, **mine).items,
        *core.list_namespaced_service_account(namespace, **mine).items,
        *core.list_namespaced_pod(namespace, **mine).items,
        *client.RbacAuthorizationV1Api().list_namespaced_role(namespace, **mine).items,
        *client.RbacAuthorizationV1Api().list_namespaced_role_binding(namespace, **mine).items,
        *client.BatchV1Api().list_namespaced_cron_job(namespace, **mine).items,
        *client.NetworkingV1Api().list_namespaced_network_policy(namespace, **mine).items,
    ]
    assert left == []
    assert chart("install").returncode == 0  # for the tests that come after
