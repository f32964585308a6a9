"""One record for each time a step ran or was reused.

Run id, times, host and library versions live here and nowhere else: they never enter an artifact or a step
digest.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pydantic import BaseModel, ConfigDict

from flowmap.artifacts.digest import is_digest
from flowmap.artifacts.store import ObjectStore, read_there
from flowmap.json_text import read_json

RECORDS = "lineage"
_SUMMARY = "summary.json"
_PARALLEL = 8


class StepRecord(BaseModel):
    """What one step of one run did. Inputs and output are artifact digests.

    Attributes:
        function, decisive_libraries: with step, code version, section and inputs what the step digest is
            of; None in records from before they were kept.
        config: the whole configuration of the run; None in records from before it was kept.
        wall_s: seconds from the frame's start to the record.
        work_s: those of them in the step's own function; 0 where its result was reused, None in records
            from before this was measured.
        gpus: how many GPUs it held while it ran, as its profile says; 0 without a profile.
        instruction_set: of the processor, that torch computed with: in the process that trained, on
            whatever node, and in the step's own where it trains nothing; None where a result was reused,
            where nothing was computed with torch, and in records from before this was kept.
        threads: how many torch computed with there.
        gpu, driver: that torch saw there, and its driver's version; None without one.
        started_at: None in records from before this was kept.
        image: that the step ran in, as its pod names it; None where it was no pod.
        expectations: what was checked of the data, as rows of name, column and how many were looked at; None
            where a step checks none, where a result was reused, and in records from before this was kept.
        is_stated: whether its statement lies in the store since it was made, as `statement.py` beside this
            writes it; False in records from before that.
        sources, environment: digests of the code that ran and of what was installed beside it, both kept in
            the store; None in records from before they were.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    schema_version: int = 1
    run_id: str
    step: str
    step_digest: str
    code_version: str
    function: str | None = None
    decisive_libraries: dict[str, str | None] | None = None
    section: dict[str, Any]
    config: dict[str, Any] | None = None
    inputs: dict[str, str]
    output: str
    reused: bool
    wall_s: float
    work_s: float | None = None
    gpus: int = 0
    instruction_set: str | None = None
    threads: int | None = None
    gpu: str | None = None
    driver: str | None = None
    image: str | None = None
    expectations: tuple[dict[str, Any], ...] | None = None
    is_stated: bool = False
    sources: str | None = None
    environment: str | None = None
    started_at: str | None = None
    finished_at: str
    host: str
    python: str
    libraries: dict[str, str]


def write_edges(store: ObjectStore, digest: str, record: StepRecord) -> None:
    """What a record says of artifacts, as empty objects with names to look for."""
    for name in edges_of(digest, record):
        store.create(name, b"")


def edges_of(digest: str, record: StepRecord) -> list[str]:
    """Their names."""
    used = sorted(filter(is_digest, set(record.inputs.values())))
    return [
        f"{RECORDS}/made/{record.output}/{digest}",
        *(f"{RECORDS}/used/{each}/{digest}" for each in used),
    ]


def decided_by(record: StepRecord) -> dict[str, Any] | None:
    """What its step digest is of; None where an older record does not say all of it."""
    if record.function is None:
        return None
    found: dict[str, Any] = {
        "step": record.step,
        "function": record.function,
        "code": record.code_version,
        "section": record.section,
        "inputs": record.inputs,
    }
    if record.decisive_libraries is not None:
        found["libraries"] = record.decisive_libraries
    return found


def summary_name(run_id: str) -> str:
    """Where a run on a cluster leaves its summary, beside its steps' records."""
    return f"runs/{run_id}/{_SUMMARY}"


def run_records(store: ObjectStore, run_id: str) -> dict[str, StepRecord]:
    """What each step of a run did, by the step's name, in the order they finished."""
    files = ((name, name.split("/")[2:]) for name in store.names(f"runs/{run_id}"))
    names = [name for name, (file, *below) in files if not below and file != _SUMMARY]
    records = [StepRecord.model_validate_json(read_there(store, name)) for name in names]
    return {record.step: record for record in sorted(records, key=lambda record: record.finished_at)}


def run_summaries(store: ObjectStore, known: Container[str] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """The id and summary of every run on a cluster that has ended, but for those whose ids are known."""
    for name in store.names("runs"):
        _, run_id, *file = name.split("/")
        if file == [_SUMMARY] and run_id not in known:
            yield run_id, read_json(read_there(store, name))


def original_of(store: ObjectStore, record: StepRecord) -> StepRecord:
    """The record of the run that did the work which `record` reused; `record` itself when it did or none is
    left."""
    if not record.reused:
        return record
    same = (other for other in _newest_first(store, record.step) if other.step_digest == record.step_digest)
    return next((other for other in same if not other.reused), record)


def last_done(store: ObjectStore, step: str) -> StepRecord | None:
    """The newest record of a step that did its work and was not reused, whatever its settings were."""
    return next((record for record in _newest_first(store, step) if not record.reused), None)


def find_run(store: ObjectStore, step: str, output: str) -> str | None:
    """The id of the newest run in which `step` made the artifact `output`, or else reused it; None without a
    record."""
    reused_in = None
    for record in _newest_first(store, step):
        if record.output == output and not record.reused:
            return record.run_id
        if record.output == output:
            reused_in = reused_in or record.run_id
    return reused_in


def _newest_first(store: ObjectStore, step: str) -> list[StepRecord]:
    """A step's records of all runs. Each is read: the ids of runs on a cluster say nothing of their time."""
    names = [name for name in store.names("runs") if name.endswith(f"/{step}.json")]
    with ThreadPoolExecutor(_PARALLEL) as pool:
        records = [StepRecord.model_validate_json(data) for data in pool.map(store.get, names)]
    return sorted(records, key=lambda record: record.finished_at, reverse=True)
