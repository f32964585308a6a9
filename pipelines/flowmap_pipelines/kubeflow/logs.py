"""What a step of a run on Kubeflow Pipelines printed: from its pod while there is one, then from what Kubeflow kept."""

from __future__ import annotations

import sys
import time

import click

from flowmap.cluster import Cluster, ClusterError, connect
from flowmap.errors import ConfigError
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
        cluster: Cluster | None = connect(namespace)
    except ClusterError:
        cluster = None
    printed = 0
    while True:
        found = _step(kubeflow, run_id, step)
        log = _log(kubeflow, cluster, run_id, found)
        sys.stdout.write(log[printed:])
        sys.stdout.flush()
        printed = max(printed, len(log))
        if found.end is not None or not follow:
            break
        time.sleep(_POLL_S)
    if not printed:
        click.echo(f"{step} is {found.state} and has printed nothing that is kept", err=True)


def print_node_log(run_id: str, node: int, namespace: str | None) -> None:
    """Print what one node of a run's training job has printed so far, while its pod is there.

    Raises:
        ClusterError: the cluster can't be asked.
        ConfigError: there is no such node, or no training job any more.
    """
    cluster = connect(namespace)
    pods = training_pods(cluster, run_id)
    if node >= len(pods):
        there = f"it has {len(pods)} nodes, from 0" if pods else "it has no training job, or no longer"
        raise ConfigError(f"run {run_id} has no node {node}: {there}; node 0's lines are in the step's own log")
    click.echo(
        cluster.call(cluster.core.read_namespaced_pod_log, pods[node].metadata.name, cluster.namespace), nl=False
    )


def _step(kubeflow: Kubeflow, run_id: str, step: str) -> StepState:
    steps = {each.step: each for each in steps_of(kubeflow.run(run_id))}
    found = steps.get(step.replace("-", "_"))
    if found is None:
        told = ", ".join(steps) or "none"
        raise ConfigError(f"run {run_id} has no step {step} that has begun; there is {told}")
    return found


def _log(kubeflow: Kubeflow, cluster: Cluster | None, run_id: str, found: StepState) -> str:
    if cluster is not None:
        from kubernetes.client import ApiException

        pod = pods_of(cluster, run_id).get(found.section)
        if pod is not None:
            read, name = cluster.core.read_namespaced_pod_log, pod.metadata.name
            try:
                return str(cluster.call(read, name, cluster.namespace, container="main"))
            except (ApiException, ClusterError):  # not started yet, or gone meanwhile
                pass
    return log_of(kubeflow, kubeflow.run(run_id), found)
