"""What runs on a cluster came to, as metrics for Prometheus: from the summaries that they left in the store.

    print(generate_latest(registry_of(store)).decode())

Each run counts once, and for ever: the store is the memory, so an exporter that starts again loses nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from threading import Lock
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from flowmap.artifacts.store import ObjectStore
from flowmap.lineage.record import run_summaries

# Each metric's meaning and labels; all are sums over the runs that ended.
_SUMS = {
    "flowmap_runs": ("Runs that ended, by what they came to", ("model", "outcome")),
    "flowmap_steps": ("Steps that ended, those that were reused apart", ("model", "step", "reused")),
    "flowmap_step_seconds": ("Seconds from a step's start to its end", ("model", "step")),
    "flowmap_gpu_seconds": ("Those seconds times the GPUs that the step held", ("model", "step")),
}


def registry_of(store: ObjectStore) -> CollectorRegistry:
    """The metrics of all runs in a store; they are read when they are asked for."""
    registry = CollectorRegistry()
    registry.register(_Runs(store))
    return registry


class _Runs(Collector):
    """Sums over the summaries. One that was read is read again only while the run may be retried, after a
    failure.

    A run that failed and was then retried has ended twice: no sum ever falls.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._known: dict[str, dict[str, Any]] = {}
        self._sums: dict[str, Counter[tuple[str, ...]]] = {name: Counter() for name in _SUMS}
        self._ends: dict[tuple[str, ...], float] = {}
        self._lock = Lock()  # each request has a thread of its own

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        with self._lock:
            ended_for_good = {run_id for run_id, run in self._known.items() if run["state"] == "done"}
            for run_id, run in run_summaries(self._store, ended_for_good):
                before = self._known.get(run_id)
                if run != before:
                    self._add(run, {} if before is None else before["steps"])
                self._known[run_id] = run
        for name, (meaning, labels) in _SUMS.items():
            family = CounterMetricFamily(name, meaning, labels=labels)
            for values, total in self._sums[name].items():
                family.add_metric(values, total)
            yield family
        last = GaugeMetricFamily(
            "flowmap_last_run_end", "When the last such run ended", labels=("model", "outcome")
        )
        for values, ended in self._ends.items():
            last.add_metric(values, ended)
        yield last

    def _add(self, run: dict[str, Any], before: dict[str, Any]) -> None:
        """Add what a run came to, but for the steps that are as they were when it had ended before."""
        model, outcome = run["name"], run["outcome"]
        self._sums["flowmap_runs"][model, outcome] += 1
        ended = datetime.fromisoformat(run["ended_at"]).timestamp()
        self._ends[model, outcome] = max(ended, self._ends.get((model, outcome), 0))
        for step, done in run["steps"].items():
            if done != before.get(step):
                self._sums["flowmap_steps"][model, step, str(done["reused"]).lower()] += 1
                self._sums["flowmap_step_seconds"][model, step] += done["wall_s"]
                self._sums["flowmap_gpu_seconds"][model, step] += done["gpu_s"]
