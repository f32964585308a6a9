"""Why two versions are not the same: what differs in what decided them, first cause first.

    for each in differences(trace(store, a), trace(store, b)):
        print(each.step, each.what, each.left, each.right)

A step is looked at before those that use what it made, so that the first difference is where the two
histories part; what differs later may follow from it, or be a cause of its own. An input that a step of the
history made is no cause: that step is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flowmap.audit.graph import Graph, Node
from flowmap.lineage.record import StepRecord


@dataclass(frozen=True)
class Difference:
    """Something that decided a step, as it was in one history and in the other; None where it was not."""

    step: str
    what: str
    left: Any
    right: Any


def differences(left: Graph, right: Graph) -> Iterator[Difference]:
    """What differs between what decided two versions, in the order of their steps.

    Raises IntegrityError where there is no such order.
    """
    for graph in (left, right):
        graph.check_ordered()
    makers = [graph.weights.step for graph in (left, right)]
    if makers[0] != makers[1]:
        yield Difference("version", "weights of", *makers)
    a, b = _steps(left), _steps(right)
    for step in sorted(a | b, key=lambda name: (a | b)[name][0]):
        if step not in a or step not in b:
            yield Difference(step, "the step", *("there" if step in each else None for each in (a, b)))
            continue
        (_, one), (_, other) = a[step], b[step]
        if one.digest != other.digest:
            yield from _of_step(step, one, other, left, right)


def _steps(graph: Graph) -> dict[str, tuple[int, Node]]:
    """The node of each step of the version's own history, and how many steps lie before it.

    Of an evaluation the version that the candidate was held against is a history of its own.
    """
    found: dict[str, tuple[int, Node]] = {}

    def depth(digest: str) -> int:
        node = graph.nodes[digest]
        if digest != graph.root and not node.is_artifact:
            return 0
        inputs = [depth(each) for each in node.inputs.values() if each in graph.nodes]
        own = 1 + max(inputs, default=0)
        if node.records:
            found.setdefault(node.step, (own, node))
        return own

    depth(graph.root)
    return found


def _of_step(step: str, one: Node, other: Node, left: Graph, right: Graph) -> Iterator[Difference]:
    a, b = one.made_by, other.made_by
    assert a is not None
    assert b is not None
    told = [
        *_between(step, "input ", _outside(one, a, left), _outside(other, b, right)),
        *_between(step, "", {"code": a.code_version[:12]}, {"code": b.code_version[:12]}),
        *_between(step, "", _flat(a.section), _flat(b.section)),
        *_between(step, "library ", a.decisive_libraries or {}, b.decisive_libraries or {}),
    ]
    yield from told
    if not told and dict(one.inputs) == dict(other.inputs):  # nothing decided it, and yet it differs
        yield from _between(step, "", _machine(a), _machine(b))


def _outside(node: Node, record: StepRecord, graph: Graph) -> dict[str, str]:
    """Inputs that no step of the history made: data from outside, another version, a number."""
    made = {digest for digest, each in graph.nodes.items() if each.records}
    return {name: used[:12] for name, used in record.inputs.items() if used not in made}


def _machine(record: StepRecord) -> dict[str, Any]:
    told = {"instruction set": record.instruction_set, "threads": record.threads, "Python": record.python}
    told |= {"GPU": record.gpu, "driver": record.driver, "image": record.image}
    return {**told, **{f"library {name}": version for name, version in record.libraries.items()}}


def _between(
    step: str, prefix: str, left: Mapping[str, Any], right: Mapping[str, Any]
) -> Iterator[Difference]:
    for name in sorted(left.keys() | right.keys()):
        if left.get(name) != right.get(name):
            yield Difference(step, f"{prefix}{name}", left.get(name), right.get(name))


def _flat(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in section.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found
