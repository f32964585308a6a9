"""A record is made: of what a step did, on which machine, with what; and what is stated of it beside it."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib import metadata
from typing import Any

from flowmap.artifacts.digest import sha256_of
from flowmap.artifacts.store import ObjectStore
from flowmap.lineage.log import log_record
from flowmap.lineage.record import RECORDS, StepRecord, write_edges
from flowmap.lineage.sources import keep_environment, keep_sources
from flowmap.lineage.statement import folder_of_run, keep, statement_of_run
from flowmap.settings import environment

_LIBRARIES = (
    "flowmap",
    "torch",
    "deepspeed",
    "numpy",
    "scipy",
    "pandas",
    "pyarrow",
    "pillow",
    "matplotlib",
    "scikit-learn",
    "kfp",
    "great-expectations",
)


def record_step(
    store: ObjectStore,
    *,
    step_digest: str,
    decided: Mapping[str, Any],
    config: dict[str, Any],
    output: str,
    reused: bool,
    wall_s: float,
    work_s: float,
    machine: Mapping[str, Any],
    expectations: Sequence[dict[str, Any]] | None = None,
) -> StepRecord:
    """Write the record under its digest, with its edges and its statement, and under the run's id for who
    looks for a run.

    Args:
        decided: what the step digest is of.
        config: the whole configuration.
        machine: what computed it, as `flowmap.machine` tells; nothing where its result was found.
        expectations: what the step checked of its data; None where it checks none, or found its result.
    """
    finished_at = datetime.now(UTC)
    record = StepRecord(
        run_id=os.environ.get(environment.RUN_ID, "none"),
        step=decided["step"],
        step_digest=step_digest,
        code_version=decided["code"],
        function=decided["function"],
        decisive_libraries=decided.get("libraries"),
        section=decided["section"],
        config=config,
        inputs=decided["inputs"],
        output=output,
        reused=reused,
        wall_s=round(wall_s, 2),
        work_s=round(work_s, 2),
        expectations=None if expectations is None else tuple(expectations),
        gpus=int(os.environ.get(environment.GPUS, "0")),
        **machine,
        image=os.environ.get(environment.IMAGE),
        sources=keep_sources(store),
        environment=keep_environment(store),
        started_at=(finished_at - timedelta(seconds=wall_s)).isoformat(timespec="milliseconds"),
        finished_at=finished_at.isoformat(timespec="milliseconds"),
        host=socket.gethostname(),
        python=platform.python_version(),
        libraries=dict(_library_versions()),
        is_stated=True,
    )
    data = record.model_dump_json(indent=1).encode()
    digest = sha256_of(data)
    log_record(store, digest)  # first: a record that no log names would never come into an index
    keep(store, folder_of_run(digest), statement_of_run(digest, record))
    store.create(f"{RECORDS}/{digest}.json", data)
    write_edges(store, digest, record)
    store.put(f"runs/{record.run_id}/{record.step}.json", data)
    return record


def _library_versions() -> Iterator[tuple[str, str]]:
    for name in _LIBRARIES:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
