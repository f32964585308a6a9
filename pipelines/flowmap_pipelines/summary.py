"""What a run came to: for people as a short table and a verdict, for programs as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowmap.artifacts.store import ObjectStore, read_there
from flowmap.artifacts.transfer import artifact_prefix
from flowmap.lineage.record import run_records
from flowmap.registry.evaluation_result import Evaluated, read_evaluated
from flowmap_pipelines.local_run import LocalRun
from flowmap_pipelines.run_section import with_run

PROMOTED, REJECTED = 0, 3
_COLUMNS = {
    "judge_accuracy": "judge accuracy",
    "judge_log_probability": "log-prob",
    "fd_judge": "fd_judge",
    "recall": "recall",
    "diversity": "diversity",
}


@dataclass(frozen=True)
class Summary:
    """One run's outcome.

    Attributes:
        outcome: `published`, `already promoted`, `passed` (nothing was to be published) or `rejected`.
        version: the registered version; None without one.
        report: a copy of the report outside the store.
    """

    name: str
    run: LocalRun
    evaluated: Evaluated
    outcome: str
    version: int | None
    alias: str | None
    report: Path

    @property
    def exit_code(self) -> int:
        return REJECTED if self.outcome == "rejected" else PROMOTED

    def to_json(self) -> dict[str, Any]:
        steps = {
            name: {
                "artifact": record.output,
                "reused": record.reused,
                "wall_s": record.wall_s,
                "work_s": record.work_s,
            }
            for name, record in self.run.records.items()
        }
        return {
            "name": self.name,
            "run_id": self.run.run_id,
            "outcome": self.outcome,
            "version": self.version,
            "alias": self.alias,
            "verdict": self.evaluated.verdict.model_dump(mode="json"),
            "metrics": self.evaluated.metrics,
            "report": str(self.report),
            "steps": steps,
        }

    def to_text(self) -> str:
        return "\n".join(
            [*self._table(), "", *self._verdict(), "", *self._steps(), "", f"report: {self.report}"]
        )

    def to_markdown(self) -> str:
        """For the page of a CI job: the outcome first, then the gate, the figures and the steps."""
        verdict = self.evaluated.verdict
        gate = ["| criterion | figure | | threshold | |", "| --- | ---: | --- | ---: | --- |"]
        for c in verdict.criteria:
            mark = "passed" if c.passed else "**failed**"
            gate.append(f"| {c.name} | {c.figure:.4f} | {c.relation} | {c.threshold:.4f} | {mark} |")
        figures = ["| model | evaluations | " + " | ".join(_COLUMNS.values()) + " |"]
        figures.append("| --- | ---: |" + " ---: |" * len(_COLUMNS))
        for name, count, row in self._rows():
            figures.append(
                f"| {name} | {count} | " + " | ".join(f"{row[key]:.3f}" for key in _COLUMNS) + " |"
            )
        return "\n".join([f"### {self._outcome()}", "", *gate, "", *figures, "", *self._steps(), ""])

    def _rows(self) -> Iterator[tuple[str, str, dict[str, float]]]:
        """Each model at each number of map evaluations, then what samples are compared with."""
        models = self.evaluated.metrics["models"]
        simpler = [name for name, by_count in models.items() if "0" in by_count]  # methods without a map
        for name in ("base", "anchor", "incumbent", "tuned", "baseline", *simpler):
            by_count = models.get(name, {})
            for count, row in sorted(by_count.items(), key=lambda item: int(item[0])):
                yield name, count, row
        yield ("reference" if self._alone else "real"), "-", self.evaluated.metrics["real"]

    @property
    def _alone(self) -> bool:
        """Whether prompts came without data."""
        return "judge" not in {criterion.name for criterion in self.evaluated.verdict.criteria}

    def _outcome(self) -> str:
        verdict = self.evaluated.verdict
        if self.outcome == "passed":
            return f"passed against the {verdict.against}; not published, for registry_push.publish is false"
        if self.version is None:
            failed = ", ".join(verdict.failed)
            return f"rejected against the {verdict.against} for {failed}; the rejection is recorded"
        return f"{self.outcome} as {self.name}@{self.version}, which `{self.alias}` points to"

    def _table(self) -> Iterator[str]:
        trained = self.evaluated.verdict.num_evaluations
        yield f"{'model':<13}{'evaluations':>11}" + "".join(f"{title:>16}" for title in _COLUMNS.values())
        for name, count, row in self._rows():
            mark = "*" if count == str(trained) and name != "baseline" else ""
            yield f"{name.partition(',')[0]:<14}{count + mark:>10}" + "".join(
                f"{row[key]:>16.3f}" for key in _COLUMNS
            )
        last = (
            "baseline: the model with more steps; reference: half of what it draws with the most, against "
            "the other half"
            if self._alone
            else "baseline: flow matching of the same network; real: the floor of fd_judge"
        )
        yield f"* the trained grid; {last}"

    def _verdict(self) -> Iterator[str]:
        verdict = self.evaluated.verdict
        for criterion in verdict.criteria:
            mark = "passed" if criterion.passed else "FAILED"
            figures = f"{criterion.figure:.4f} {criterion.relation} {criterion.threshold:.4f}"
            yield f"{mark}  {criterion.name:<18}{figures:<24}{criterion.meaning}"
        yield self._outcome()

    def _steps(self) -> Iterator[str]:
        records = self.run.records.items()
        yield "steps: " + ", ".join(
            f"{n} {'reused' if r.reused else f'{r.wall_s:.0f} s'}" for n, r in records
        )


def summarise(name: str, run: LocalRun, root: Path) -> Summary:
    """Read a finished run's outcome, and copy its report and its picture of samples to `reports/` below the
    root."""
    evaluation = run.records["evaluation"].output
    report = root / "reports" / f"{name}-{evaluation[:12]}.html"
    summary = _read(name, run, report)
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_bytes(with_run(summary.evaluated.report, run.store, run.records))
    report.with_suffix(".png").write_bytes(summary.evaluated.samples)
    return summary


def ended_markdown(name: str, store: ObjectStore, run_id: str) -> str:
    """The outcome of a run on a cluster, for a comment; one that failed has only its steps to show."""
    records = run_records(store, run_id)
    if "registry_push" not in records:
        steps = ", ".join(records) or "none"
        return f"### {name}: the run {run_id} did not come to a verdict\n\nsteps that were done: {steps}\n"
    return _read(name, LocalRun(run_id, store, records), Path()).to_markdown()


def _read(name: str, run: LocalRun, report: Path) -> Summary:
    evaluated = read_evaluated(run.store, run.records["evaluation"].output)
    pushed = artifact_prefix(run.records["registry_push"].output)
    told = json.loads(read_there(run.store, f"{pushed}/outcome.json"))
    outcome = {each: told[each] for each in ("outcome", "version", "alias")}
    return Summary(name=name, run=run, evaluated=evaluated, report=report, **outcome)
