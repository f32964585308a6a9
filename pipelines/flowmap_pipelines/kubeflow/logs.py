"""What a step of a run on Kubeflow Pipelines printed: from its pod while there is one, then from what Kubeflow kept."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import click

from flowmap.artifacts.store import ObjectStore
from flowmap.cluster import Cluster, ClusterError, connect
from flowmap.errors import ConfigError
from flowmap.training.node_logs import kept_log
from flowmap_pipelines.kubeflow.answers import Run
from flowmap_pipelines.kubeflow.client import Kubeflow
from flowmap_pipelines.kubeflow.following import StepState, log_of, steps_of
from flowmap_pipelines.kubeflow.status import pods_of, training_pods

_POLL_S = 3.0


def print_log(kubeflow: Kubeflow, run_id: str, step: str, namespace: str | None, *, follow: bool) -> None:
    """Print a step's log, and with `follow` what is new until it has ended.

    Raises:
        ConfigError: the run has no such step, or it has not begun.
    """
    try:
        cluster: Cluster | None = connect(namespace, patient=False)
    except ClusterError:
        cluster = None
    printed = 0
    while True:
        run = kubeflow.run(run_id)
        found = _step(run, step)
        log = _log(kubeflow, cluster, run, found)
        sys.stdout.write(log[printed:])
        sys.stdout.flush()
        printed = max(printed, len(log))
        if found.end is not None or run.has_ended or not follow:
            break
        time.sleep(_POLL_S)
    if not printed:
        click.echo(f"{step} is {found.state} and has printed nothing that is kept", err=True)


def print_node_log(
    run_id: str, step: str, node: int, namespace: str | None, open_kept: Callable[[], ObjectStore], *, follow: bool
) -> None:
    """Print what one node of a step's training job printed, and with `follow` what is new while its pod is there.

    The store is opened when the pod is gone only: a laptop may see the one and not the other.

    Raises:
        ConfigError: there is no such node, or nothing is kept of it.
        StoreError: its pod is gone, and the store with what is kept can't be asked.
    """
    printed: dict[str, int] = {}
    while pod := _node_pod(run_id, node, namespace):
        name, log = pod
        sys.stdout.write(log[printed.get(name, 0) :])
        sys.stdout.flush()
        printed[name] = max(printed.get(name, 0), len(log))
        if not follow:
            return
        time.sleep(_POLL_S)
    if printed:
        return
    store = open_kept()
    kept = kept_log(store, run_id, step.replace("-", "_"), node)
    if not kept:
        raise ConfigError(
            f"run {run_id} has no node {node} of {step}: no pod of its training job is there, and {store.url} keeps no "
            "such log; what a step does in its own pod is told without --node"
        )
    click.echo(kept, nl=False)


def _node_pod(run_id: str, node: int, namespace: str | None) -> tuple[str, str] | None:
    """The name of a node's pod and what it printed so far; None when it is gone or the cluster can't be asked."""
    from kubernetes.client import ApiException

    try:
        cluster = connect(namespace, patient=False)
        pods = training_pods(cluster, run_id)
        if node >= len(pods):
            return None
        name = pods[node].metadata.name
        return name, str(cluster.call(cluster.core.read_namespaced_pod_log, name, cluster.namespace))
    except ClusterError:
        return None
    except ApiException:  # not started yet
        return name, ""


def _step(run: Run, step: str) -> StepState:
    steps = {each.step: each for each in steps_of(run)}
    found = steps.get(step.replace("-", "_"))
    if found is None:
        told = ", ".join(steps) or "none"
        raise ConfigError(f"run {run.run_id} has no step {step} that has begun; there is {told}")
    return found


def _log(kubeflow: Kubeflow, cluster: Cluster | None, run: Run, found: StepState) -> str:
    if cluster is not None:
        from kubernetes.client import ApiException

        pod = pods_of(cluster, run.run_id).get(found.section)
        if pod is not None:
            read, name = cluster.core.read_namespaced_pod_log, pod.metadata.name
            try:
                return str(cluster.call(read, name, cluster.namespace, container="main"))
            except (ApiException, ClusterError):  # not started yet, or gone meanwhile
                pass
    return log_of(kubeflow, run, found)
