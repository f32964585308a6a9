"""Ends a run on Kubeflow Pipelines, and the training jobs it has on other nodes."""

from __future__ import annotations

from collections.abc import Iterator

from flowmap.kubernetes.api import ClusterError, connect
from flowmap.kubernetes.leftovers import delete_left, train_jobs_of
from flowmap_pipelines.kubeflow.client import Kubeflow


def cancel(kubeflow: Kubeflow, run_id: str, namespace: str | None) -> Iterator[str]:
    """Ask for the run's end, and delete its TrainJobs; says what it did."""
    run = kubeflow.run(run_id)
    if run.has_ended:
        yield f"the run {run.name} had ended: {run.state}"
    else:
        kubeflow.cancel(run_id)
        yield f"the run {run.name} ends within seconds"
    try:
        cluster = connect(namespace, patience=0)
        for job in train_jobs_of(cluster, run_id):
            delete_left(cluster, job)
            yield f"deleted trainjob {job.name}"
    except ClusterError:
        yield (
            "its training jobs, if it has any, are deleted by its exit handler, or else by the chart's "
            "reaper"
        )
