"""The chart on a real Kubernetes: installed, tested, upgraded, gone; and what its account may do."""

from collections.abc import Callable
from subprocess import CompletedProcess

import pytest
from kubernetes import client

Helm = Callable[..., CompletedProcess[str]]
ACCOUNT = "flowmap"


def test_helm_test_writes_and_reads_the_store(chart: Helm) -> None:
    done = chart("test", "--timeout", "10m")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Phase:          Succeeded") == 2


def test_an_upgrade_keeps_what_was_set(chart: Helm, core: client.CoreV1Api, namespace: str, store_url: str) -> None:
    done = chart("upgrade", "--set", "resourceQuota.enabled=true")
    assert done.returncode == 0, done.stderr
    assert core.read_namespaced_config_map("flowmap-store", namespace).data == {"url": store_url}
    hard = core.read_namespaced_resource_quota("flowmap", namespace).spec.hard
    assert hard["requests.nvidia.com/gpu"] == "8"
    assert chart("upgrade").returncode == 0
    assert core.list_namespaced_resource_quota(namespace).items == []


@pytest.mark.parametrize(
    ("verb", "group", "resource", "name", "allowed"),
    [
        ("create", "argoproj.io", "workflowtaskresults", "", True),
        ("patch", "argoproj.io", "workflowtaskresults", "", True),
        ("get", "", "configmaps", "kfp-launcher", True),
        ("get", "", "secrets", "flowmap-store", True),
        ("get", "", "secrets", "flowmap-registry", False),
        ("list", "", "secrets", "", False),
        ("get", "", "configmaps", "flowmap-store", False),
        ("create", "", "pods", "", False),
        ("create", "", "pods/exec", "", False),
        ("delete", "", "pods", "", False),
        ("create", "rbac.authorization.k8s.io", "roles", "", False),
        ("create", "trainer.kubeflow.org", "trainjobs", "", False),
    ],
)
def test_the_account_can_do_what_it_must_and_nothing_else(
    chart: Helm, namespace: str, verb: str, group: str, resource: str, name: str, allowed: bool
) -> None:
    what, _, part = resource.partition("/")
    asked = {"namespace": namespace, "verb": verb, "group": group, "resource": what, "subresource": part, "name": name}
    review = {"spec": {"user": f"system:serviceaccount:{namespace}:{ACCOUNT}", "resourceAttributes": asked}}
    answer = client.AuthorizationV1Api().create_subject_access_review(review)
    assert answer.status.allowed is allowed


def test_uninstalled_it_leaves_nothing(chart: Helm, core: client.CoreV1Api, namespace: str) -> None:
    assert chart("uninstall", "--wait").returncode == 0
    mine = {"label_selector": "app.kubernetes.io/instance=flowmap"}
    left = [
        *core.list_namespaced_config_map(namespace, **mine).items,
        *core.list_namespaced_service_account(namespace, **mine).items,
        *core.list_namespaced_pod(namespace, **mine).items,
        *client.RbacAuthorizationV1Api().list_namespaced_role(namespace, **mine).items,
        *client.RbacAuthorizationV1Api().list_namespaced_role_binding(namespace, **mine).items,
        *client.NetworkingV1Api().list_namespaced_network_policy(namespace, **mine).items,
    ]
    assert left == []
    assert chart("install").returncode == 0  # for the tests that come after
