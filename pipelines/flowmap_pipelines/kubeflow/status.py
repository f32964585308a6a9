"""How runs on Kubeflow Pipelines are, as text and as JSON, with what the cluster says of steps that can't
start."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from flowmap.kubernetes.api import Cluster, ClusterError, connect
from flowmap.kubernetes.leftovers import train_jobs_of
from flowmap.kubernetes.waiting import is_stuck, waits_for_room
from flowmap.launching.train_job_pods import Pods
from flowmap_pipelines.kubeflow.following import outcome_of, steps_of
from flowmap_pipelines.kubeflow.resources import Run

_STEP_LABEL, _RUN_LABEL = "flowmap/step", "pipeline/runid"
_NO_CLUSTER = (
    "whether pods can start is not known here: set KUBECONFIG and --namespace to look at the cluster too"
)


def pods_of(cluster: Cluster, run_id: str) -> dict[str, Any]:
    """The newest pod of each step of a run, by the step's section."""
    chosen = f"{_RUN_LABEL}={run_id},{_STEP_LABEL}"
    found = cluster.call(cluster.core.list_namespaced_pod, cluster.namespace, label_selector=chosen).items
    return {
        pod.metadata.labels[_STEP_LABEL]: pod
        for pod in sorted(found, key=lambda pod: pod.metadata.creation_timestamp)
    }


def training_pods(cluster: Cluster, run_id: str) -> list[Any]:
    """The pods of a run's training jobs, node 0 of each first."""
    found = []
    for job in train_jobs_of(cluster, run_id):
        pods = Pods(cluster, job.name)
        pods.refresh()
        found += pods.pods
    return found


def troubles_of(run: Run, namespace: str | None) -> dict[str, str] | None:
    """Why steps that have not begun don't, by step; None where the cluster can't be asked."""
    if run.has_ended:
        return {}
    try:
        cluster = connect(namespace, patience=0)
        pods = list(pods_of(cluster, run.run_id).items())
    except ClusterError:
        return None
    with contextlib.suppress(ClusterError):  # who may look at pods may still not look at training jobs
        pods += [("grpo_finetuning", pod) for pod in training_pods(cluster, run.run_id)]
    told: dict[str, str] = {}
    for step, pod in pods:
        if pod.status.phase == "Pending" and (trouble := is_stuck(pod) or waits_for_room(pod)):
            told.setdefault(step, trouble)
    return told


def workflow_words(run: Run, namespace: str | None) -> list[str]:
    """What the cluster says of a run as a whole, and of what it could not begin: Kubeflow tells neither.

    Nothing where it can't be asked.
    """
    try:
        cluster = connect(namespace, patience=0)
        workflows = _workflows(cluster, run.run_id)
    except ClusterError:
        return []
    lines: dict[str, None] = {}
    for workflow in workflows:
        status = workflow.get("status", {})
        nodes = [
            node for node in status.get("nodes", {}).values() if node.get("phase") in ("Error", "Failed")
        ]
        for told in (status.get("message"), *(node.get("message") for node in nodes)):
            if told:
                lines[told] = None
        name, there = workflow["metadata"]["name"], workflow["metadata"]["namespace"]
        with contextlib.suppress(ClusterError):
            chosen = f"involvedObject.name={name},type=Warning"
            events = cluster.call(cluster.core.list_namespaced_event, there, field_selector=chosen).items
            lines |= {f"{event.reason}: {event.message}": None for event in events}
    return list(lines)


def _workflows(cluster: Cluster, run_id: str) -> list[Any]:
    """A run's Argo workflow: in the namespace, or wherever this account may look."""
    what, chosen = ("argoproj.io", "v1alpha1", "workflows"), f"{_RUN_LABEL}={run_id}"
    custom = cluster.custom
    try:
        found = cluster.call(custom.list_cluster_custom_object, *what, label_selector=chosen)
    except ClusterError:
        group, version, plural = what
        found = cluster.call(
            custom.list_namespaced_custom_object,
            group,
            version,
            cluster.namespace,
            plural,
            label_selector=chosen,
        )
    return list(found["items"])


def status_text(run: Run, troubles: Mapping[str, str] | None, link: str) -> str:
    """A run and its steps, one a line."""
    state = outcome_of(run) if run.has_ended else run.state
    lines = [f"{run.name}  {state}  started {run.created:%Y-%m-%d %H:%M} UTC", link]
    for each in steps_of(run):
        seconds = "" if each.seconds is None else f"{each.seconds:.0f} s"
        trouble = (troubles or {}).get(each.step)
        shown = "can't start" if trouble else each.state
        lines.append(f"  {each.step:<18}{shown:<13}{seconds:>8}{f'   {trouble}' if trouble else ''}")
    if troubles is None:
        lines.append(_NO_CLUSTER)
    return "\n".join(lines)


def list_text(runs: Sequence[Run]) -> str:
    """Runs, one a line, the newest first."""
    if not runs:
        return "no runs yet: flowmap submit starts one"
    width = max(len(run.name) for run in runs)
    lines = [
        f"{run.run_id}  {run.name:<{width}}  {run.state:<10}  {run.created:%Y-%m-%d %H:%M}" for run in runs
    ]
    return "\n".join(lines)


def status_json(run: Run, troubles: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The same for programs."""
    steps = {}
    for each in steps_of(run):
        steps[each.step] = {"state": each.state, "seconds": each.seconds}
        if trouble := (troubles or {}).get(each.step):
            steps[each.step]["trouble"] = trouble
    return {
        "run": run.run_id,
        "name": run.name,
        "state": run.state,
        "outcome": outcome_of(run) if run.has_ended else None,
        "created": run.created.isoformat(),
        "steps": steps,
    }
