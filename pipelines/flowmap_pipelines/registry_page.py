"""The registry as one HTML file: versions in time, their figures as small curves, aliases, rejected
candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowmap.artifacts.store import ObjectStore, read_there
from flowmap.lineage.record import StepRecord
from flowmap.page import render
from flowmap_pipelines.model_list import FIGURES

_TEMPLATE = Path(__file__).with_name("registry_page.html")
_WIDTH, _HEIGHT, _MARGIN = 220, 60, 6


@dataclass(frozen=True)
class Curve:
    """A figure over the versions: its points in a box of 220 x 60, in words for those who can't see it."""

    name: str
    points: tuple[tuple[float, float], ...]
    text: str


def write_registry_page(store: ObjectStore, models: dict[str, dict[str, Any]], output: Path) -> None:
    """Write what `list_models` found as a page.

    Args:
        store: told about in the page; the times of evaluations are read from its records.
        models: versions, aliases and rejections by model.
        output: the HTML file; its folder is made.
    """
    times = _evaluation_times(store)
    page = render(
        _TEMPLATE,
        store=store.url,
        models={name: _shown(entry, times) for name, entry in models.items()},
        columns=FIGURES,
        size=(_WIDTH, _HEIGHT),
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page, encoding="utf-8")


def _shown(entry: dict[str, Any], times: dict[str, str]) -> dict[str, Any]:
    def timed(judged: dict[str, Any]) -> dict[str, Any]:
        aliases = [alias for alias, number in entry["aliases"].items() if number == judged.get("version")]
        return {**judged, "time": times.get(judged["evaluation"], "not on record"), "aliases": aliases}

    rejections = sorted(map(timed, entry["rejections"]), key=lambda rejection: rejection["time"])
    versions = [timed(version) for version in entry["versions"]]
    curves = [
        curve(
            name.replace("_", " "), [(version["version"], version["figures"][name]) for version in versions]
        )
        for name in FIGURES
    ]
    return {
        "versions": versions[::-1],
        "rejections": rejections[::-1],
        "aliases": entry["aliases"],
        "curves": curves,
    }


def curve(name: str, values: Sequence[tuple[int, float]]) -> Curve:
    """A figure over versions, scaled to its own range; a single or a constant value is a line in the
    middle."""
    figures = [figure for _, figure in values]
    if not figures:
        return Curve(name, (), f"{name}: no version yet")
    low, high = min(figures), max(figures)
    wide, tall = _WIDTH - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN
    points = tuple(
        (
            round(_MARGIN + wide * (index / (len(values) - 1) if len(values) > 1 else 0.5), 1),
            round(_MARGIN + tall * (1 - (figure - low) / (high - low) if high > low else 0.5), 1),
        )
        for index, (_, figure) in enumerate(values)
    )
    if len(values) == 1:
        return Curve(name, points, f"{name}: {low:.3g}")
    return Curve(
        name, points, f"{name}: {figures[-1]:.3g}, over {len(values)} versions {low:.3g} to {high:.3g}"
    )


def _evaluation_times(store: ObjectStore) -> dict[str, str]:
    """When each evaluation was first finished, by its digest."""
    times: dict[str, str] = {}
    for name in store.names("runs"):
        if name.endswith("/evaluation.json"):
            record = StepRecord.model_validate_json(read_there(store, name))
            ended = record.finished_at[:19].replace("T", " ")
            times[record.output] = min(ended, times.get(record.output, ended))
    return times
