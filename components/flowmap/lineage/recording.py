"""A record is made: of what a step did, on which machine, with what; and what is stated of it beside it."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
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
    expectations: Sequence[dict[str, Any]] | None = None,
) -> StepRecord:
    """Write the record under its digest, with its edges and its statement, and under the run's id for who
    looks for a run.

    Args:
        decided: what the step digest is of.
        config: the whole configuration.
        expectations: what the step checked of its data; None where it checks none, or found its result.
    """
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
        **_computed_with(),
        image=os.environ.get(environment.IMAGE),
        sources=keep_sources(store),
        environment=keep_environment(store),
        finished_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
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


def _computed_with() -> dict[str, Any]:
    """What decides the last digit of a result besides its inputs, where torch has been at work in this
    process."""
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    told = {"instruction_set": torch.backends.cpu.get_cpu_capability(), "threads": torch.get_num_threads()}
    if not torch.cuda.is_available():
        return told
    return {**told, "gpu": torch.cuda.get_device_name(), "driver": _driver()}


def _driver() -> str | None:
    """The version of the GPU's driver; None where its own tool does not tell."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(done.stdout.split()), None)


def _library_versions() -> Iterator[tuple[str, str]]:
    for name in _LIBRARIES:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
