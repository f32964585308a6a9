"""What ended runs left on the cluster: TrainJobs that nobody follows any more, and pods that ended long ago.

A launcher marks its TrainJob as seen every minute, so one that has not been seen for a while has lost its
launcher for good: the run was cancelled, or its pod could not start again. That needs no Kubeflow to be
asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from flowmap.kubernetes.api import Cluster
from flowmap.kubernetes.labels import GROUP, PART_OF, PLURAL, RUN_LABEL, SEEN, VERSION

_OURS = ",".join(f"{key}={value}" for key, value in PART_OF.items())


@dataclass(frozen=True)
class Left:
    """Something that nobody needs any more, and why it counts as such."""

    kind: str
    name: str
    why: str


def find_left(cluster: Cluster, unseen: timedelta, ended: timedelta) -> list[Left]:
    """TrainJobs not followed for `unseen`, and pods of runs that ended `ended` ago.

    Only flowmap's own count.
    """
    now = datetime.now(UTC)
    left = []
    for job in _train_jobs(cluster):
        metadata = job["metadata"]
        seen = metadata.get("annotations", {}).get(SEEN, metadata["creationTimestamp"])
        age = now - datetime.fromisoformat(seen)
        if age > unseen and "deletionTimestamp" not in metadata:
            left.append(Left("trainjob", metadata["name"], f"nobody has followed it for {_told(age)}"))
    pods = cluster.call(cluster.core.list_namespaced_pod, cluster.namespace, label_selector=_OURS).items
    for pod in pods:
        if pod.status.phase in ("Succeeded", "Failed") and (at := _ended(pod)) and now - at > ended:
            left.append(Left("pod", pod.metadata.name, f"it ended {_told(now - at)} ago"))
    return left


def train_jobs_of(cluster: Cluster, run_id: str) -> list[Left]:
    """The TrainJobs of one run, which is to end."""
    jobs = _train_jobs(cluster)
    mine = [
        job["metadata"]["name"] for job in jobs if job["metadata"].get("labels", {}).get(RUN_LABEL) == run_id
    ]
    return [Left("trainjob", name, "its run ends") for name in mine]


def delete_left(cluster: Cluster, left: Left) -> None:
    """Delete it; what is gone already is no error."""
    from kubernetes.client import ApiException

    try:
        if left.kind == "trainjob":
            where = (GROUP, VERSION, cluster.namespace, PLURAL, left.name)
            cluster.call(
                cluster.custom.delete_namespaced_custom_object, *where, propagation_policy="Background"
            )
        else:
            cluster.call(cluster.core.delete_namespaced_pod, left.name, cluster.namespace)
    except ApiException as error:
        if error.status != 404:
            raise


def _train_jobs(cluster: Cluster) -> list[dict[str, Any]]:
    from kubernetes.client import ApiException

    where = (GROUP, VERSION, cluster.namespace, PLURAL)
    try:
        found: dict[str, Any] = cluster.call(
            cluster.custom.list_namespaced_custom_object, *where, label_selector=_OURS
        )
    except ApiException:  # a cluster without Kubeflow Trainer has none
        return []
    jobs: list[dict[str, Any]] = found["items"]
    return jobs


def _ended(pod: Any) -> datetime | None:
    """When the last of its containers ended."""
    states = [status.state.terminated for status in pod.status.container_statuses or []]
    return max((state.finished_at for state in states if state and state.finished_at), default=None)


def _told(age: timedelta) -> str:
    minutes = int(age.total_seconds() // 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
