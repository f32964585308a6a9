"""What a stored report can't say, for its bytes are the same whenever it is made: which run it comes from,
how long each step took, what was reused, with which versions of what. It goes into the copy that people look
at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

from flowmap.artifacts.store import ObjectStore
from flowmap.lineage.record import StepRecord, find_run, original_of, run_records
from flowmap.page import END_OF_REPORT, TOP_OF_REPORT, render
from flowmap.settings.yaml_text import write_yaml
from flowmap_pipelines.graph_picture import laid_out

_TEMPLATE = Path(__file__).with_name("run_section.html")
_BOX = (150, 46)


@dataclass(frozen=True)
class Box:
    """A step in the picture of the DAG; x and y are its upper left corner."""

    name: str
    note: str
    reused: bool
    x: int
    y: int


def with_run(report: bytes, store: ObjectStore, records: Mapping[str, StepRecord]) -> bytes:
    """A report with the run's section at its end."""
    originals = {name: original_of(store, record) for name, record in records.items()}
    boxes, arrows, frame = draw_dag(records)
    section = render(
        _TEMPLATE,
        records=records,
        originals=originals,
        last=max(records.values(), key=lambda record: record.finished_at),
        settings=settings_text(records),
        boxes=boxes,
        arrows=arrows,
        box=_BOX,
        frame=frame,
    )
    top = f" of <b>{escape(model_name(records))}</b>" if model_name(records) else ""
    return report.replace(TOP_OF_REPORT.encode(), top.encode()).replace(
        END_OF_REPORT.encode(), section.encode()
    )


def model_name(records: Mapping[str, StepRecord]) -> str:
    """The name that a run's model has in the registry, as its last step was told; empty without a record of
    that."""
    pushed = records.get("registry_push")
    return "" if pushed is None else str(pushed.section.get("name", ""))


def settings_text(records: Mapping[str, StepRecord]) -> str:
    """Every setting that decided a result of the run, as YAML."""
    return write_yaml({name: record.section for name, record in records.items()})


def report_of(store: ObjectStore, report: bytes, evaluation: str) -> bytes:
    """The report of an evaluation with the run that made it; as stored when no record of one is left."""
    run_id = find_run(store, "evaluation", evaluation)
    return report if run_id is None else with_run(report, store, run_records(store, run_id))


def draw_dag(
    records: Mapping[str, StepRecord],
) -> tuple[list[Box], list[str], tuple[int, int, int, int]]:
    """Boxes in columns, each right of all that it reads from, the arrows between them as SVG paths, and the
    `viewBox` of it all.

    Which step reads what another made is told by the digests in the records.
    """
    made_by = {record.output: name for name, record in records.items()}
    reads = {
        name: sorted({made_by[each] for each in record.inputs.values() if made_by.get(each, name) != name})
        for name, record in records.items()
    }
    picture = laid_out(reads, *_BOX)
    boxes = [
        Box(
            name,
            "reused" if record.reused else seconds_text(record.wall_s),
            record.reused,
            *picture.places[name],
        )
        for name, record in records.items()
    ]
    return boxes, [arrow.path for arrow in picture.arrows], picture.frame


def seconds_text(seconds: float) -> str:
    """`7 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
