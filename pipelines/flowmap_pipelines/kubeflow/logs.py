"""What a step of a run on Kubeflow Pipelines printed: from its pod while there is one, then from what
Kubeflow kept."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from typing import Any

import click

from flowmap.artifacts.store import ObjectStore
from flowmap.errors import ConfigError
from flowmap.kubernetes.api import Cluster, ClusterError, connect
from flowmap.launching.node_logs import kept_log
from flowmap_pipelines.kubeflow.client import Kubeflow
from flowmap_pipelines.kubeflow.following import StepState, log_of, said, steps_of
from flowmap_pipelines.kubeflow.resources import Run
from flowmap_pipelines.kubeflow.status import pods_of, training_pods

_POLL_S = 3.0


def print_log(kubeflow: Kubeflow, run_id: str, step: str, namespace: str | None, *, follow: bool) -> None:
    """Print a step's log, and with `follow` what is new until it has ended.

    Raises:
        ConfigError: the run has no such step, or it has not begun.
    """
    try:
        cluster: Cluster | None = connect(namespace, patience=0)
    except ClusterError:
        cluster = None
    printed = _Printed()
    while True:
        run = kubeflow.run(run_id)
        found = _step(run, step)
        printed.print(_log(kubeflow, cluster, run, found))
        if found.end is not None or run.has_ended or not follow:
            break
        time.sleep(_POLL_S)
    if not printed.texts:
        click.echo(f"{step} is {found.state} and has printed nothing that is kept", err=True)


def print_node_log(
    run_id: str,
    step: str,
    node: int,
    namespace: str | None,
    open_kept: Callable[[], ObjectStore],
    *,
    follow: bool,
) -> None:
    """Print what one node of a step's training job printed, and with `follow` what is new while its pod is
    there.

    The store is opened when the pod is gone only: a laptop may see the one and not the other.

    Raises:
        ConfigError: there is no such node, or nothing is kept of it.
        StoreError: its pod is gone, and the store with what is kept can't be asked.
    """
    printed = _Printed()
    # Who has seen some of it waits for a cluster that is away, and nobody else does.
    while (log := _node_log(run_id, node, namespace, patient=bool(printed.texts))) is not None:
        printed.print(log)
        if not follow:
            return
        time.sleep(_POLL_S)
    if printed.texts:
        return
    store = open_kept()
    kept = kept_log(store, run_id, step.replace("-", "_"), node)
    if not kept:
        raise ConfigError(
            f"run {run_id} has no node {node} of {step}: no pod of its training job is there, and "
            f"{store.url} keeps no such log; what a step does in its own pod is told without --node"
        )
    click.echo(kept, nl=False)


def _node_log(run_id: str, node: int, namespace: str | None, *, patient: bool) -> str | None:
    """What a node's pod printed so far; None when it is gone or the cluster can't be asked."""
    try:
        cluster = connect(namespace, patience=None if patient else 0)
        pods = training_pods(cluster, run_id)
        return _pod_log(cluster, pods[node]) if node < len(pods) else None
    except ClusterError:
        return None


def _pod_log(cluster: Cluster, pod: Any, **options: str) -> str:
    """What a pod printed so far; nothing while it has not started, and when it is gone meanwhile."""
    from kubernetes.client import ApiException

    if pod.status.phase == "Pending":
        return ""
    try:
        return str(
            cluster.call(
                cluster.core.read_namespaced_pod_log, pod.metadata.name, cluster.namespace, **options
            )
        )
    except ApiException:
        return ""


class _Printed:
    """Prints a log that is read whole again and again: what is new in it, or all where another pod began it
    anew."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def print(self, log: str) -> None:
        lines = log.splitlines(keepends=True)
        # By their texts: those are all that Kubeflow keeps of lines in JSON, when the pod is gone.
        texts, num_known = [said(line.rstrip("\n")) for line in lines], len(self.texts)
        new = lines[num_known:] if texts[:num_known] == self.texts else lines
        sys.stdout.write("".join(new))
        sys.stdout.flush()
        self.texts = texts or self.texts


def _step(run: Run, step: str) -> StepState:
    steps = {each.step: each for each in steps_of(run)}
    found = steps.get(step.replace("-", "_"))
    if found is None:
        told = ", ".join(steps) or "none"
        raise ConfigError(f"run {run.run_id} has no step {step} that has begun; there is {told}")
    return found


def _log(kubeflow: Kubeflow, cluster: Cluster | None, run: Run, found: StepState) -> str:
    if cluster is not None:
        with contextlib.suppress(ClusterError):
            pod = pods_of(cluster, run.run_id).get(found.section)
            if pod is not None and (log := _pod_log(cluster, pod, container="main")):
                return log
    return log_of(kubeflow, run, found)
