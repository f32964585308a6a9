"""`flowmap doctor --cluster`: what runs on Kubernetes need.

Permissions are those of the steps' service account, where whoever asks may ask for another; else one's own,
as in a pod of that account.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from flowmap.artifacts.store import open_store
from flowmap.errors import FlowmapError
from flowmap.kubernetes.api import Cluster, ClusterError, connect
from flowmap.kubernetes.labels import GROUP, VERSION
from flowmap_pipelines.doctor import OVERWRITES, Finding
from flowmap_pipelines.kubeflow.client import Kubeflow

_API_SERVER = "ml-pipeline"
_OLDEST = (1, 29)
_TRIED = "2.17"
_MAX_SKEW_S = 60
# What a step's account has to be allowed, by what for.
_STEPS = (
    ("report its end to Argo", "create", "argoproj.io", "workflowtaskresults", ""),
    ("read Kubeflow's launcher's settings", "get", "", "configmaps", "kfp-launcher"),
)
_TRAINING = (
    ("start training jobs", "create", "trainer.kubeflow.org", "trainjobs", ""),
    ("follow training jobs", "list", "", "pods", ""),
    ("read what they print", "get", "", "pods/log", ""),
    ("end training jobs", "delete", "trainer.kubeflow.org", "trainjobs", ""),
)
_NO_TRAINING = "only for profiles with `trainjob`: helm upgrade --set training.enabled=true"
_CHART = "install or upgrade flowmap's chart in this namespace, and run as its service account"


def examine_cluster(
    namespace: str | None, kubeflow: str | None, account: str, store_url: str | None
) -> Iterator[Finding]:
    """Look at cluster, Kubeflow, permissions and store; each finding that fails says what to do."""
    try:
        cluster = connect(namespace, patience=0)
        version, date = _version(cluster)
    except ClusterError as error:
        yield Finding(False, "kubernetes", f"{error}")
        return
    yield _kubernetes(version)
    yield _clock("kubernetes", date)
    trainer = _versions(cluster, GROUP)
    yield from _kubeflow(kubeflow, namespace, cluster)
    yield _trainer(trainer)
    for finding in _permissions(cluster, account, _STEPS):
        yield finding if finding.ok else replace(finding, told=f"{finding.told}; {_CHART}")
    if trainer:
        for finding in _permissions(cluster, account, _TRAINING):
            yield finding if finding.ok else Finding(None, finding.what, f"{finding.told}; {_NO_TRAINING}")
        yield _runtime(cluster)
    yield _gpus(cluster)
    if store_url:
        yield from _store(store_url)


def _version(cluster: Cluster) -> tuple[str, str | None]:
    from kubernetes import client

    api = client.VersionApi(cluster.core.api_client)
    told, _, headers = cluster.call(api.get_code_with_http_info)
    return told.git_version, headers.get("Date")


def _kubernetes(version: str) -> Finding:
    found = re.match(r"v(\d+)\.(\d+)", version)
    new_enough = found is not None and (int(found[1]), int(found[2])) >= _OLDEST
    advice = "" if new_enough else f"; flowmap wants {_OLDEST[0]}.{_OLDEST[1]} or newer"
    return Finding(new_enough, "kubernetes", f"{version}{advice}")


def _clock(whose: str, date: str | None) -> Finding:
    if date is None:
        return Finding(None, f"clock of {whose}", "it does not say what time it has")
    skew_s = abs((datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds())
    advice = (
        ""
        if skew_s <= _MAX_SKEW_S
        else "; signatures and tokens fail with clocks so far apart: let NTP set them"
    )
    return Finding(skew_s <= _MAX_SKEW_S, f"clock of {whose}", f"{skew_s:.0f} s apart from this one{advice}")


def _versions(cluster: Cluster, group: str) -> list[str]:
    """The versions of an API that the cluster serves; none where it does not know the group."""
    from kubernetes import client

    groups = cluster.call(client.ApisApi(cluster.core.api_client).get_api_versions).groups
    return [version.version for each in groups if each.name == group for version in each.versions]


def _trainer(versions: list[str]) -> Finding:
    if not versions:
        return Finding(None, "kubeflow trainer", "not there; only for profiles with `trainjob`")
    told = f"serves {GROUP}/{', '.join(versions)}"
    if VERSION in versions:
        return Finding(True, "kubeflow trainer", told)
    return Finding(
        False, "kubeflow trainer", f"{told}; flowmap speaks {VERSION}: install Kubeflow Trainer 2.0"
    )


def _kubeflow(host: str | None, namespace: str | None, cluster: Cluster) -> Iterator[Finding]:
    what = "kubeflow pipelines"
    if host is None:
        yield Finding(None, what, "not looked at: give --kubeflow URL")
        return
    try:
        kubeflow = Kubeflow(host, namespace)
    except FlowmapError as error:
        yield Finding(False, what, str(error))
        return
    advice = "" if kubeflow.version.startswith(_TRIED) else f"; flowmap was tried with {_TRIED} only"
    yield Finding(not advice or None, what, f"{kubeflow.version} at {kubeflow.host}{advice}")
    if not kubeflow.is_multi_user:
        yield _one_users(cluster)


def _one_users(cluster: Cluster) -> Finding:
    """Where Kubeflow serves one user, pods run in its own namespace, whatever --namespace says."""
    from kubernetes.client import ApiException

    what, here = "kubeflow's namespace", cluster.namespace
    try:
        cluster.call(cluster.core.read_namespaced_service, _API_SERVER, here)
    except ApiException:  # 404
        return Finding(
            False,
            what,
            f"this Kubeflow serves one user, so every pod runs in its own namespace, and {here} is not "
            f"that: there is no service {_API_SERVER} in it. Install flowmap's chart and the Secrets there, "
            "and give that --namespace",
        )
    except ClusterError:
        return Finding(
            None, what, f"this Kubeflow serves one user: {here} must be the namespace that it is in itself"
        )
    return Finding(True, what, f"{here}, where this Kubeflow, which serves one user, runs every pod")


def _permissions(
    cluster: Cluster, account: str, wanted: tuple[tuple[str, str, str, str, str], ...]
) -> Iterator[Finding]:
    for purpose, verb, group, resource, name in wanted:
        allowed, who = _allowed(cluster, account, verb, group, resource, name)
        told = (
            f"{who} {'may' if allowed else 'may not'} {purpose}: {verb} "
            f"{resource}{f' {name}' if name else ''}"
        )
        yield Finding(allowed, "permission", told)


def _allowed(
    cluster: Cluster, account: str, verb: str, group: str, resource: str, name: str
) -> tuple[bool, str]:
    """Whether, and who: the steps' account, or whoever asks."""
    from kubernetes import client

    what, _, part = resource.partition("/")
    asked = {
        "namespace": cluster.namespace,
        "verb": verb,
        "group": group,
        "resource": what,
        "subresource": part,
    }
    asked["name"] = name
    api = client.AuthorizationV1Api(cluster.core.api_client)
    user = f"system:serviceaccount:{cluster.namespace}:{account}"
    other = {
        "metadata": {"namespace": cluster.namespace},
        "spec": {"user": user, "resourceAttributes": asked},
    }
    answer = _tried(
        lambda: cluster.call(api.create_namespaced_local_subject_access_review, cluster.namespace, other)
    )
    if answer is not None:
        return bool(answer.status.allowed), account
    review = {"spec": {"resourceAttributes": asked}}
    return bool(cluster.call(api.create_self_subject_access_review, review).status.allowed), "this account"


def _runtime(cluster: Cluster) -> Finding:
    where = (GROUP, VERSION, cluster.namespace, "trainingruntimes", "flowmap-training")
    found = _tried(lambda: cluster.call(cluster.custom.get_namespaced_custom_object, *where))
    if found is None:
        return Finding(
            None, "training runtime", f"not to be seen by this account, or not there; {_NO_TRAINING}"
        )
    return Finding(True, "training runtime", "flowmap-training is there")


def _gpus(cluster: Cluster) -> Finding:
    nodes = _tried(lambda: cluster.call(cluster.core.list_node))
    if nodes is None:
        return Finding(None, "gpu nodes", "this account may not look at nodes")
    found: dict[str, int] = {}
    for node in nodes.items:
        for resource, amount in (node.status.allocatable or {}).items():
            if resource.endswith("/gpu"):
                found[resource] = found.get(resource, 0) + int(amount)
    told = ", ".join(f"{num} x {resource}" for resource, num in sorted(found.items()))
    return Finding(
        None, "gpu nodes", told or "none; the profile cluster-cpu runs without, others wait for one"
    )


def _tried(ask: Callable[[], Any]) -> Any | None:
    from kubernetes.client import ApiException

    try:
        return ask()
    except (ClusterError, ApiException):
        return None


def _store(url: str) -> Iterator[Finding]:
    """Whether it can be used, and whether these credentials could overwrite registered models."""
    try:
        store = open_store(url, patience=1)
        store.exists("doctor/cluster")
    except FlowmapError as error:
        yield Finding(False, "store", str(error))
        return
    try:
        store.put("doctor/cluster", b"written by flowmap doctor")
        overwrites = store.create("doctor/cluster", b"written again")
        store.delete("doctor/cluster")
    except FlowmapError as error:
        refused = "these credentials may not write" if "do not allow it" in str(error) else str(error)
        yield Finding(None, "store", f"{url} can be read, which is enough on this side; {refused}")
        return
    yield Finding(not overwrites, "store", OVERWRITES if overwrites else f"{url}: written and deleted")
    there = next((name for name in store.names("models") if name.endswith(".json")), None)
    if there is None:
        yield Finding(
            None, "store's policy", "no model is there yet, by which to see who may write below models/"
        )
        return
    try:
        store.create(
            there, store.get(there)
        )  # it exists, so nothing is written; by a careless store, the same bytes
    except FlowmapError:
        yield Finding(
            None, "store's policy", "these credentials may not write below models/, as those of a step"
        )
    else:
        told = "these credentials may write below models/: right for registry_push, too much for other steps"
        yield Finding(None, "store's policy", told)
