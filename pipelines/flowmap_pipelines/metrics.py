"""What runs on a cluster came to, as metrics for Prometheus: from the summaries that they left in the store.

    print(generate_latest(registry_of(store)).decode())

Each run counts once, and for ever: the store is the memory, so an exporter that starts again loses nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
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
    """Sums over the summaries; one that was read is not read again."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._summaries: dict[str, dict[str, Any]] = {}

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        self._summaries.update(run_summaries(self._store, self._summaries))
        sums: dict[str, Counter[tuple[str, ...]]] = {name: Counter() for name in _SUMS}
        ends: dict[tuple[str, ...], float] = {}
        for run in self._summaries.values():
            model, outcome = run["name"], run["outcome"]
            sums["flowmap_runs"][model, outcome] += 1
            ended = datetime.fromisoformat(run["ended_at"]).timestamp()
            ends[model, outcome] = max(ended, ends.get((model, outcome), 0))
            for step, done in run["steps"].items():
                sums["flowmap_steps"][model, step, str(done["reused"]).lower()] += 1
                sums["flowmap_step_seconds"][model, step] += done["wall_s"]
                sums["flowmap_gpu_seconds"][model, step] += done["gpu_s"]
        for name, (meaning, labels) in _SUMS.items():
            family = CounterMetricFamily(name, meaning, labels=labels)
            for values, total in sums[name].items():
                family.add_metric(values, total)
            yield family
        last = GaugeMetricFamily("flowmap_last_run_end", "When the last such run ended", labels=("model", "outcome"))
        for values, ended in ends.items():
            last.add_metric(values, ended)
        yield last
