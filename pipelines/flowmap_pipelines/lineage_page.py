"""Lineage as one HTML file: a picture from the data on the left to the version on the right, each box a link
to what is on record of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flowmap.audit.graph import Graph, Node
from flowmap.page import render
from flowmap_pipelines.graph_picture import laid_out
from flowmap_pipelines.run_section import seconds_text

_TEMPLATE = Path(__file__).with_name("lineage_page.html")
_BOX = (168, 54)


@dataclass(frozen=True)
class Box:
    """A node where it stands: its left upper corner, its title, and what stands below that."""

    node: Node
    x: int
    y: int
    title: str
    lines: tuple[str, ...]


def write_lineage_page(graph: Graph, title: str, store: str, output: Path) -> None:
    """Write what was traced as a page; its folder is made."""
    reads = {digest: list(dict.fromkeys(node.inputs.values())) for digest, node in graph.nodes.items()}
    picture = laid_out(reads, *_BOX)
    boxes = {digest: _box(node, *picture.places[digest]) for digest, node in graph.nodes.items()}
    told = [
        (arrow.path, f"{boxes[arrow.used].title}, used by {boxes[arrow.made].title}")
        for arrow in picture.arrows
    ]
    page = render(
        _TEMPLATE,
        title=title,
        store=store,
        boxes=sorted(boxes.values(), key=lambda box: (box.x, box.y)),
        arrows=told,
        frame=picture.frame,
        box=_BOX,
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page, encoding="utf-8")


def _box(node: Node, x: int, y: int) -> Box:
    record = node.made_by
    lines = [node.digest[:12]]
    if record is not None:
        work = f", {seconds_text(record.work_s)}" if record.work_s else ""
        lines.append(f"{record.finished_at[:16].replace('T', ' ')}{work}")
    elif node.kind == "outside":
        lines.append("no step made it")
    return Box(node, x, y, node.label or "from outside", tuple(lines))
