"""The pods of a training job: what they wait for, what the first of them prints, and why they ended."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from flowmap.kubernetes.api import Cluster, ClusterError
from flowmap.kubernetes.waiting import is_stuck, waits_for_room
from flowmap.settings import environment

_JOB_LABEL = "jobset.sigs.k8s.io/jobset-name"
_NODE_LABEL = "batch.kubernetes.io/job-completion-index"
_LAST_LINES = 15
_OVERLAP_S = 30  # clocks differ


class Pods:
    """The pods of one TrainJob as of the last `refresh`, by their node's number."""

    def __init__(self, cluster: Cluster, job: str) -> None:
        self._cluster, self._job = cluster, job
        self._at_once = replace(cluster, patience_s=0.0)  # for what it can do without
        self.pods: list[Any] = []
        self._printed = ""

    def refresh(self) -> None:
        """Ask for them; of a node that was started again only the newest counts."""
        core, namespace = self._cluster.core, self._cluster.namespace
        found = self._cluster.call(
            core.list_namespaced_pod, namespace, label_selector=f"{_JOB_LABEL}={self._job}"
        )
        newest: dict[str, Any] = {}
        for pod in sorted(found.items, key=lambda pod: pod.metadata.creation_timestamp):
            newest[pod.metadata.labels.get(_NODE_LABEL, "0")] = pod
        self.pods = [newest[node] for node in sorted(newest, key=int)]

    def are_running(self, nodes: int) -> bool:
        """Whether there are that many, and none has still to start."""
        return len(self.pods) == nodes and all(pod.status.phase != "Pending" for pod in self.pods)

    def nodes(self) -> list[str]:
        """The machines they run on."""
        return [pod.spec.node_name for pod in self.pods]

    def waiting_for_room(self) -> str | None:
        """What the scheduler says of a pod it finds no machine for."""
        return next(filter(None, map(waits_for_room, self.pods)), None)

    def stuck(self) -> str | None:
        """Why a pod can't start, for a reason that does not pass by itself."""
        return next(filter(None, map(is_stuck, self.pods)), None)

    def refused(self, nodes: int) -> str | None:
        """What the cluster says of a pod that it does not make, as where a quota is used up."""
        if len(self.pods) >= nodes:
            return None
        told = self._events("involvedObject.kind=Job,reason=FailedCreate")
        mine = [event for event in told if event.involved_object.name.startswith(f"{self._job}-")]
        if not mine:
            return None
        # What stands before it names a pod that never was, another each time.
        why = mine[-1].message.partition(" is forbidden: ")[2] or mine[-1].message
        return f"its pods are not made: {why}"

    def print_first(self) -> None:
        """Print the lines of node 0 that are new, as they are."""
        if self.pods and self.pods[0].status.phase != "Pending":
            for line in self._log(self.pods[0], timestamps=True, **self._since()):
                at, _, text = line.partition(" ")
                if at > self._printed:
                    self._printed = at
                    print(text, file=sys.stderr, flush=True)

    def _since(self) -> dict[str, int]:
        """Ask for what may be new only: a log can be long."""
        if not self._printed:
            return {}
        age = datetime.now(UTC) - datetime.fromisoformat(self._printed[:19] + "+00:00")
        return {"since_seconds": max(1, round(age.total_seconds())) + _OVERLAP_S}

    def lacked_memory(self) -> bool:
        """Whether the kernel has ended one of their containers because its memory's limit was reached."""
        states = [
            state
            for pod in self.pods
            for container in pod.status.container_statuses or []
            for state in (container.state, container.last_state)
        ]
        return any(each and each.terminated and each.terminated.reason == "OOMKilled" for each in states)

    def summary(self) -> str:
        """Why containers ended, the cluster's events, and the last lines of every node, for an error
        message."""
        self.refresh()
        lines = []
        for pod in self.pods:
            name = pod.metadata.name
            for container in pod.status.container_statuses or []:
                if ended := container.state.terminated:
                    lines.append(f"{name}: ended with status {ended.exit_code} ({ended.reason})")
            warnings = self._events(f"involvedObject.name={name},type=Warning")
            lines += [f"{name}: {event.reason}: {event.message}" for event in warnings]
            lines += [f"{name} | {line}" for line in self._log(pod, tail_lines=_LAST_LINES)]
        return "\n".join(lines or ["none of its pods is left, and so no log"])

    def _events(self, chosen: str) -> list[Any]:
        core = self._cluster.core
        try:
            found = self._at_once.call(
                core.list_namespaced_event, self._cluster.namespace, field_selector=chosen
            )
        except ClusterError:
            return []
        return list(found.items)

    def _log(self, pod: Any, **options: Any) -> list[str]:
        from kubernetes.client import ApiException

        core, name = self._cluster.core, pod.metadata.name
        try:
            log: str = self._at_once.call(
                core.read_namespaced_pod_log, name, self._cluster.namespace, **options
            )
        except (
            ApiException,
            ClusterError,
        ):  # not started, gone meanwhile, or on a machine that does not answer
            return []
        return log.splitlines()


def owners_of_this_pod(cluster: Cluster) -> list[dict[str, Any]]:
    """Whatever owns the pod that this is, a run's Workflow: the pod may be lost and made again.

    Else the pod itself; nothing outside a pod.
    """
    name = os.environ.get(environment.POD)
    if name is None:
        return []
    pod = cluster.call(cluster.core.read_namespaced_pod, name, cluster.namespace)
    above = pod.metadata.owner_references or []
    owners = [(each.api_version, each.kind, each.name, each.uid) for each in above]
    owners = owners or [("v1", "Pod", name, pod.metadata.uid)]
    return [dict(zip(("apiVersion", "kind", "name", "uid"), each, strict=True)) for each in owners]
