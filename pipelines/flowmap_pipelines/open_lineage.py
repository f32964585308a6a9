"""What a version was made of as OpenLineage events, for a catalogue such as Marquez.

    for event in events(store, version):
        print(Serde.to_json(event))
    send(events(store, version), "http://marquez:5000")

Each run of a step is a run of the job `<model>.<step>`, its parent the run of the pipeline; artifacts are
datasets of the namespace of their store. Ids of runs follow from the records' digests: sent again, they say
the same.

Source: OpenLineage (openlineage.io), RunEvent 2-0-2.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.generated import (
    dataset_version_dataset,
    job_type_job,
    parent_run,
    processing_engine_run,
    tags_run,
)
from openlineage.client.generated.base import DatasetFacet
from openlineage.client.transport.http import HttpConfig, HttpTransport

import flowmap
from flowmap.artifacts.digest import is_digest
from flowmap.artifacts.store import ObjectStore
from flowmap.audit.graph import Graph, trace
from flowmap.errors import FlowmapError
from flowmap.lineage.record import StepRecord
from flowmap.registry import Version

_NAMESPACE = "flowmap"
_PRODUCER = f"https://pypi.org/project/flowmap/{flowmap.__version__}"
_OF_RUNS = uuid.UUID("6f0a2d5e-1f0a-5d5b-9b0e-0c6a3c1f7d11")


class SendingError(FlowmapError):
    """A catalogue did not take an event."""


def events(store: ObjectStore, version: Version) -> Iterator[RunEvent]:
    """Start and end of every step's run beneath a version, in the order in which they ended."""
    graph = trace(store, version)
    records = {digest: record for node in graph.nodes.values() for digest, record in node.records.items()}
    for digest, record in sorted(records.items(), key=lambda item: item[1].finished_at):
        yield from _of_run(store, graph, digest, record)


def send(told: Iterable[RunEvent], url: str) -> int:
    """Post events to a catalogue; returns how many. Raises SendingError where it does not take one."""
    client = OpenLineageClient(
        transport=HttpTransport(HttpConfig.from_dict({"url": url.rstrip("/") + "/", "type": "http"}))
    )
    num = 0
    for event in told:
        try:
            client.emit(event)
        except Exception as error:  # of whatever library it posts with
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise SendingError(f"{url} did not take the event of {event.job.name}: {first}") from None
        num += 1
    return num


def _of_run(store: ObjectStore, graph: Graph, digest: str, record: StepRecord) -> Iterator[RunEvent]:
    model = str((record.config or {}).get("name", "flowmap"))
    ended = datetime.fromisoformat(record.finished_at)
    run = Run(
        runId=str(uuid.uuid5(_OF_RUNS, digest)),
        facets={
            "parent": parent_run.ParentRunFacet(
                run=parent_run.Run(runId=str(uuid.uuid5(_OF_RUNS, record.run_id))),
                job=parent_run.Job(namespace=_NAMESPACE, name=model),
            ),
            "processing_engine": processing_engine_run.ProcessingEngineRunFacet(
                version=record.libraries.get("flowmap", flowmap.__version__), name="flowmap"
            ),
            "tags": tags_run.TagsRunFacet(
                tags=[
                    tags_run.TagsRunFacetFields(key=name, value=value, source="FLOWMAP")
                    for name, value in _decisive(record).items()
                ]
            ),
        },
    )
    kind = job_type_job.JobTypeJobFacet(processingType="BATCH", integration="FLOWMAP", jobType="STEP")
    job = Job(namespace=_NAMESPACE, name=f"{model}.{record.step}", facets={"jobType": kind})
    inputs = [
        InputDataset(namespace=store.url, name=_named(graph, each), facets=_version_of(each))
        for each in sorted(set(filter(is_digest, record.inputs.values())))
    ]
    output = OutputDataset(
        namespace=store.url, name=_named(graph, record.output), facets=_version_of(record.output)
    )
    began = ended - timedelta(seconds=record.wall_s)
    for state, at, outputs in ((RunState.START, began, []), (RunState.COMPLETE, ended, [output])):
        yield RunEvent(
            eventTime=at.isoformat(),
            producer=_PRODUCER,
            run=run,
            job=job,
            eventType=state,
            inputs=inputs,
            outputs=outputs,
        )


def _named(graph: Graph, digest: str) -> str:
    """Artifacts by what made them; the digest is the dataset's version, and part of its name, for no two are
    one dataset over time."""
    node = graph.nodes.get(digest)
    return f"{node.step if node is not None else 'outside'}/{digest}"


def _version_of(digest: str) -> dict[str, DatasetFacet]:
    return {"version": dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=digest)}


def _decisive(record: StepRecord) -> Mapping[str, str]:
    """What decided the result besides its inputs."""
    told = {
        "code": record.code_version,
        "sources": record.sources,
        "environment": record.environment,
        "instruction set": record.instruction_set,
        "GPU": record.gpu,
        "image": record.image,
        "step digest": record.step_digest,
    }
    return {name: value for name, value in told.items() if value is not None}
