"""What an evaluation leaves, for those who read it: the registry, the command line, Kubeflow's pages.

evaluated = read_evaluated(store, digest)
evaluated.verdict.failed, evaluated.figures()["fd_judge"], evaluated.report
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict

from flowmap.artifacts.store import ObjectStore
from flowmap.artifacts.transfer import artifact_prefix
from flowmap.errors import IntegrityError

Against = Literal["base", "anchor", "incumbent"]
Relation = Literal[">", ">=", "<="]
METRICS, VERDICT, REPORT, SAMPLES = "metrics.json", "verdict.json", "report.html", "samples.png"


class Criterion(BaseModel):
    """One condition of the gate: `figure relation threshold`."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")
    name: str
    meaning: str
    figure: float
    relation: Relation
    threshold: float
    passed: bool


class Verdict(BaseModel):
    """The decision and what it rests on.

    Attributes:
        verdict: `promote` when every criterion is passed.
        against: what a gain was counted from: the incumbent, or where there is none the anchor, which in a
            model's first run is its own base.
        num_evaluations: map evaluations of a sample, those of the trained grid.
        against_evaluations: those of what it was measured against, an incumbent's own; None in verdicts
            from before that was told apart.
        trial, level: the number of this candidate among all of its name, and the chance of a false gain that
            it could take.
        advice: after a rejection, why in words, and what to try.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    verdict: Literal["promote", "reject"]
    against: Against
    num_evaluations: int
    against_evaluations: int | None = None
    criteria: tuple[Criterion, ...]
    trial: int = 1
    level: float | None = None
    advice: tuple[str, ...] = ()

    @property
    def failed(self) -> list[str]:
        """Names of the criteria that were not passed."""
        return [criterion.name for criterion in self.criteria if not criterion.passed]


@dataclass(frozen=True)
class Evaluated:
    """Verdict, all figures (`metrics.json`), the report's HTML, and a picture of samples (PNG)."""

    verdict: Verdict
    metrics: dict[str, Any]
    report: bytes
    samples: bytes

    def figures(self, model: str = "tuned") -> dict[str, float]:
        """The candidate's figures, or another model's, on the grid that the candidate was trained on."""
        return figures_of(self.metrics, self.verdict, model)


def figures_of(metrics: dict[str, Any], verdict: Verdict, model: str = "tuned") -> dict[str, float]:
    """A model's figures on the grid that the candidate was trained on.

    Raises KeyError or TypeError where the metrics are none of an evaluation.
    """
    found: dict[str, float] = metrics["models"][model][str(verdict.num_evaluations)]
    return found


class _Metrics(Protocol):
    def log_metric(self, metric: str, value: float) -> None: ...


class _Page(Protocol):
    path: str


def read_evaluated(store: ObjectStore, digest: str) -> Evaluated:
    """Read an evaluation's artifact; the frame has verified its bytes.

    Raises IntegrityError for a missing file.
    """
    return Evaluated(
        verdict=Verdict.model_validate_json(_read(store, digest, VERDICT)),
        metrics=json.loads(_read(store, digest, METRICS)),
        report=read_report(store, digest),
        samples=_read(store, digest, SAMPLES),
    )


def read_judgement(store: ObjectStore, digest: str) -> tuple[Verdict, dict[str, Any]]:
    """Verdict and figures alone. Raises IntegrityError for a missing file, and ValueError for one that is no
    JSON or no verdict."""
    verdict = Verdict.model_validate_json(_read(store, digest, VERDICT))
    return verdict, json.loads(_read(store, digest, METRICS))


def read_report(store: ObjectStore, digest: str) -> bytes:
    """The report's HTML alone. Raises IntegrityError when it is not in the store."""
    return _read(store, digest, REPORT)


def _read(store: ObjectStore, digest: str, name: str) -> bytes:
    where = f"{artifact_prefix(digest)}/{name}"
    try:
        return store.get(where)
    except KeyError:
        raise IntegrityError(
            f"{where} is missing in {store.url}: the evaluation was deleted or is cut"
        ) from None


def show(evaluated: Evaluated, metrics: _Metrics, page: _Page) -> str:
    """Hand the figures and the report to Kubeflow's own pages; returns the verdict."""
    for name, value in evaluated.figures().items():
        metrics.log_metric(name, round(value, 6))
    Path(page.path).parent.mkdir(parents=True, exist_ok=True)
    Path(page.path).write_bytes(evaluated.report)
    return evaluated.verdict.verdict
