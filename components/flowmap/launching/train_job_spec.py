"""What a TrainJob of Kubeflow Trainer is asked to be, as the plain dictionary that its API takes.

    body = train_job(job, TrainJobSettings(nodes=2, image="repository@sha256:...", ...), owners=[])

The runtime, a TrainingRuntime of the chart, says all that is the same for every job; this fills in image,
command, size and the job itself. By its label JOB_LABEL a TrainJob of the same name is known to be of the
same job or not.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from flowmap.errors import ConfigError
from flowmap.kubernetes.api import ClusterError
from flowmap.kubernetes.labels import GROUP, JOB_LABEL, PART_OF, RUN_LABEL, VERSION
from flowmap.kubernetes.quantities import amount
from flowmap.launching.job import Job
from flowmap.launching.torchrun import bounded_threads
from flowmap.progress import LINE_FIELDS
from flowmap.settings import environment


class TrainJobSettings(BaseModel):
    """What the profile says about a step's TrainJob; requests, limits and whole CPUs are a node's.

    Where nodes did not have enough memory, it is tried again up to `attempts` times with `memory_factor`
    times as much; a factor of 1 leaves it at that.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    nodes: int
    runtime: str
    image: str
    requests: dict[str, str]
    limits: dict[str, str]
    cpus: int
    deadline_s: float
    labels: dict[str, str] = {}
    memory_factor: float = 1.0
    attempts: int = 0

    def with_more_memory(self) -> TrainJobSettings:
        """The same with `memory_factor` times the memory, and one attempt less."""

        def more(resources: dict[str, str]) -> dict[str, str]:
            return {
                name: times(value, self.memory_factor) if name == "memory" else value
                for name, value in resources.items()
            }

        return self.model_copy(
            update={
                "requests": more(self.requests),
                "limits": more(self.limits),
                "attempts": self.attempts - 1,
            }
        )

    def check(self, num_processes: int) -> None:
        """Raise ConfigError when the nodes can't share that many processes evenly."""
        if num_processes % self.nodes:
            raise ConfigError(
                f"the profile's trainjob.nodes is {self.nodes}, which does not divide "
                f"grpo_finetuning.processes, {num_processes}: give each node as many processes as it has "
                "GPUs"
            )


def train_job_name(job: Job) -> str:
    """The same for the same work, so that a launcher finds what one before it made."""
    return f"flowmap-{_short(job.checkpoints)}"


def _secret(variable: str, name: str, key: str) -> dict[str, Any]:
    """A variable that a Secret has the value of, where there is one."""
    return {
        "name": variable,
        "valueFrom": {"secretKeyRef": {"name": name, "key": key, "optional": True}},
    }


# Rewards may ask a model elsewhere for marks, or fetch one that is given out under a licence.
_SECRETS = (
    _secret(environment.VLM_KEY, environment.VLM_SECRET, "key"),
    _secret(environment.HUB_TOKEN, environment.HUB_SECRET, "token"),
)


def train_job(job: Job, settings: TrainJobSettings, owners: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The TrainJob of a job."""
    # What is the same whichever pod the launcher runs in: it decides whether a TrainJob is this job's.
    plain = job.model_copy(update={"inputs": {}, "out": Path("out"), "scratch": Path("scratch")})
    told, num_here = plain.model_dump_json(), job.num_processes // settings.nodes
    threads = bounded_threads(settings.cpus // num_here)
    labels = {**settings.labels, **PART_OF, JOB_LABEL: _short(told)}
    if run := os.environ.get(LINE_FIELDS["run"]):
        labels[RUN_LABEL] = run
    variables = {environment.JOB: told, environment.LOG_FORMAT: "json", "OMP_NUM_THREADS": str(threads)}
    handed_on = (*LINE_FIELDS.values(), environment.PATIENCE)
    variables |= {name: os.environ[name] for name in handed_on if name in os.environ}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TrainJob",
        "metadata": {"name": train_job_name(job), "labels": labels, "ownerReferences": list(owners)},
        "spec": {
            "runtimeRef": {"apiGroup": GROUP, "kind": "TrainingRuntime", "name": settings.runtime},
            "trainer": {
                "image": settings.image,
                "command": ["python", "-m", "flowmap.launching.node"],
                "numNodes": settings.nodes,
                "numProcPerNode": num_here,
                "resourcesPerNode": {"requests": settings.requests, "limits": settings.limits},
                "env": [*({"name": name, "value": value} for name, value in variables.items()), *_SECRETS],
            },
        },
    }


def check_as_asked(asked: Mapping[str, Any], made: Mapping[str, Any], namespace: str) -> None:
    """A webhook may add to what was asked; what it changes of it would change the result, or where it runs.

    Raises ClusterError for a change.
    """
    wanted, got = asked["spec"]["trainer"], made.get("spec", {}).get("trainer", {})
    for field in ("image", "command", "numNodes", "numProcPerNode"):
        if got.get(field) != wanted[field]:
            raise ClusterError(
                f"a webhook of the cluster changed trainer.{field} of TrainJob {asked['metadata']['name']} "
                f"from {wanted[field]!r} to {got.get(field)!r}; exempt the namespace {namespace} from it"
            )


def has_condition(found: Mapping[str, Any], kind: str) -> bool:
    """Whether a TrainJob says that of itself, such as Complete or Failed."""
    conditions = found.get("status", {}).get("conditions", [])
    return any(each["type"] == kind and each["status"] == "True" for each in conditions)


def times(quantity: str, factor: float) -> str:
    """A Kubernetes quantity of memory, so many times, in mebibytes."""
    return f"{math.ceil(amount(quantity) * factor / 2**20)}Mi"


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:20]
