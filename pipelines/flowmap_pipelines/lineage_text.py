"""Lineage as text: a tree for the terminal, Graphviz's language, JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator

from flowmap.audit.graph import Graph, Node

_SHORT = 12


def tree(graph: Graph) -> Iterator[str]:
    """Lines, each thing below what was made of it; what stands above already is only named."""
    shown: set[str] = set()
    waiting = [(graph.root, "", "", "")]
    while waiting:
        digest, name, lead, mark = waiting.pop()
        node = graph.nodes[digest]
        again = digest in shown and bool(node.inputs)
        yield f"{lead}{mark}{f'{name}: ' if name else ''}{_told(node)}{' (above)' if again else ''}"
        shown.add(digest)
        if again:
            continue
        inputs = [(used, each) for each, used in node.inputs.items()]
        deeper = lead + {"": "", "├─ ": "│  ", "└─ ": "   "}[mark]
        marks = ["├─ "] * (len(inputs) - 1) + ["└─ "] * bool(inputs)
        waiting += reversed([(*each, deeper, mark) for each, mark in zip(inputs, marks, strict=True)])


def _told(node: Node) -> str:
    short = node.digest[:_SHORT]
    if node.kind == "version":
        return f"{node.label} {short}"
    record = node.made_by
    if record is None:
        return f"{short}, from outside"
    work = f", {record.work_s:.0f} s" if record.work_s else ""
    runs = len({each.run_id for each in node.records.values()})
    used = f", reused by {runs - 1} more" if runs > 1 else ""
    return f"{node.kind} {short}, run {record.run_id}{work}{used}"


def as_json(graph: Graph) -> str:
    """Nodes and what they were made of, with the record of who did the work."""
    nodes = [
        {
            "digest": node.digest,
            "kind": node.kind,
            "label": node.label,
            "inputs": dict(node.inputs),
            "record": None if node.made_by is None else node.made_by.model_dump(mode="json"),
            "records": list(node.records),
        }
        for node in graph.nodes.values()
    ]
    return json.dumps({"root": graph.root, "nodes": nodes}, indent=1, sort_keys=True)


def as_dot(graph: Graph) -> str:
    """For Graphviz: arrows go from what was used to what was made."""
    lines = ["digraph lineage {", "  rankdir=LR;", "  node [shape=box];"]
    for node in graph.nodes.values():
        label = f"{node.label or node.kind}\\n{node.digest[:_SHORT]}"
        lines.append(f'  "{node.digest}" [label="{label}"];')
        lines += [f'  "{used}" -> "{node.digest}" [label="{name}"];' for name, used in node.inputs.items()]
    return "\n".join([*lines, "}"])
