"""What a question costs in a store of a hundred thousand records: forwards from one set of data to all that
was made of it, by the edges alone and by the index.

    make bench-lineage
    python -m benchmarks.lineage --records 100000

The store is made first, of records such as steps write: one set of data, a base for every ten runs, and of
each run a tuned model and its evaluation.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from flowmap.artifacts.digest import sha256_of
from flowmap.artifacts.local_store import LocalStore
from flowmap.audit import impact as impact_module
from flowmap.audit.impact import impact
from flowmap.lineage.index import RecordIndex, path_of
from flowmap.lineage.log import log_record
from flowmap.lineage.record import StepRecord, write_edges

_RUNS_OF_A_BASE = 10


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="Keep the store there, and use it if it is there.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_CACHE_HOME"] = str(Path(scratch, "cache"))
        store = LocalStore((options.folder or Path(scratch)) / "store")
        data = sha256_of(b"data")
        if not any(store.names(f"lineage/used/{data}")):
            _timed(f"{options.records:,} records written", lambda: fill(store, data, options.records))
        impact_module._LONG = 10**9
        by_edges = _timed("by edges alone", lambda: impact(store, data).artifacts)
        _timed("index made", lambda: _opened(store))
        for _ in range(3):
            by_index = _timed("by the index, warm", lambda: impact(store, data).artifacts)
        for asked in (data, sha256_of(b"base 0")):
            _timed("the whole command, warm", partial(_command, store, asked))
        few = _timed("of one base, by the index", lambda: impact(store, sha256_of(b"base 0")).artifacts)
        print(f"{len(by_index):,} artifacts, of one base {len(few)}; same answer: {by_edges == by_index}")
        print(f"the index has {path_of(store).stat().st_size / 1e6:.1f} MB")


def fill(store: LocalStore, data: str, num: int) -> None:
    """Write records of steps that never ran."""
    made = 0
    run = 0
    while made < num:
        base = sha256_of(f"base {run // _RUNS_OF_A_BASE}".encode())
        tuned, judged = (sha256_of(f"{what} {run}".encode()) for what in ("tuned", "judged"))
        if run % _RUNS_OF_A_BASE == 0:
            _write(store, run, "base_training", {"data": data}, base)
            made += 1
        _write(store, run, "grpo_finetuning", {"base": base}, tuned)
        _write(store, run, "evaluation", {"data": data, "base": base, "tuned": tuned}, judged)
        made += 2
        run += 1


def _write(store: LocalStore, run: int, step: str, inputs: dict[str, str], output: str) -> None:
    record = StepRecord(
        run_id=f"run-{run}",
        step=step,
        step_digest=sha256_of(f"{step} {output}".encode()),
        code_version="c" * 64,
        function="run",
        section={"seed": run},
        config={"name": "bench", "seed": run},
        inputs=inputs,
        output=output,
        reused=False,
        wall_s=1.0,
        finished_at="2026-01-01T00:00:00.000+00:00",
        host="bench",
        python="3.11",
        libraries={"flowmap": "0"},
    )
    bytes_ = record.model_dump_json(indent=1).encode()
    digest = sha256_of(bytes_)
    store.create(f"lineage/{digest}.json", bytes_)
    write_edges(store, digest, record)
    log_record(store, digest)


def _opened(store: LocalStore) -> None:
    with RecordIndex.opened(store):
        pass


def _command(store: LocalStore, digest: str) -> None:
    """As people ask, with the start of the interpreter."""
    command = [sys.executable, "-m", "flowmap_pipelines.cli", "lineage", "impact", digest]
    subprocess.run([*command, "--store", str(store.root)], check=True, stdout=subprocess.DEVNULL)


def _timed(what: str, work: Callable[[], Any]) -> Any:
    began = time.perf_counter()
    found = work()
    print(f"{what}: {time.perf_counter() - began:.2f} s", flush=True)
    return found


if __name__ == "__main__":
    main()
