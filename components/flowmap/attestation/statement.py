"""The statement of a version: an in-toto Statement v1 with the SLSA provenance v1 of how it was made.

    payload = statement_of(trace(store, version), version)     # the same bytes whenever it is asked for
    differences(payload, other)                                # what two of them disagree in

Subjects are the published files. Everything in it is in the store's records already; a statement holds it
together, so that one signature is over all of it.

Source: in-toto attestation (github.com/in-toto/attestation, spec v1), SLSA provenance (slsa.dev, v1).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1.statement import STATEMENT_TYPE_URI, Statement

from flowmap.artifacts.digest import canonical_json
from flowmap.audit.graph import Graph, Node
from flowmap.errors import IntegrityError
from flowmap.registry import Version

PROVENANCE = "https://slsa.dev/provenance/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
_BUILD = "urn:flowmap:pipeline:v1"


def statement_of(graph: Graph, version: Version) -> bytes:
    """The canonical JSON of a version's statement.

    Args:
        graph: what `trace` found of it.

    Raises IntegrityError where no record says how the candidate was made.
    """
    made = graph.nodes.get(version.candidate)
    record = None if made is None else made.made_by
    if record is None:
        raise IntegrityError(
            f"{version.name}@{version.version}: no record says how {version.candidate[:12]} was made, so "
            "there is nothing to state"
        )
    beneath = _beneath(graph, version)
    judged = [graph.nodes[version.evaluation]] if version.evaluation in graph.nodes else []
    steps = {node.kind: node.made_by for node in [*beneath, *judged] if node.made_by is not None}
    told: dict[str, Any] = {
        "_type": STATEMENT_TYPE_URI,
        "subject": [
            {"name": entry.path, "digest": {"sha256": entry.sha256}} for entry in version.manifest.files
        ],
        "predicateType": PROVENANCE,
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD,
                "externalParameters": {
                    "model": f"{version.name}@{version.version}",
                    "configuration": record.config,
                },
                "internalParameters": {
                    kind: {"code": each.code_version, "libraries": each.decisive_libraries or {}}
                    for kind, each in sorted(steps.items())
                },
                "resolvedDependencies": [*map(_dependency, beneath), *_code([*beneath, *judged])],
            },
            "runDetails": {
                "builder": {"id": f"urn:flowmap:host:{record.host}", "version": record.libraries},
                "metadata": {"invocationId": record.run_id, "finishedOn": record.finished_at},
                "byproducts": [
                    {
                        "name": "evaluation",
                        "digest": {"sha256": version.evaluation},
                        "annotations": {"verdict": version.verdict.get("verdict", version.role)},
                    }
                ],
            },
        },
    }
    _check_format(told)
    return canonical_json(told)


def _beneath(graph: Graph, version: Version) -> list[Node]:
    """Everything that it was made of, by kind and digest; a version that it was held against is no part of
    it."""
    found: dict[str, Node] = {}
    waiting = [version.candidate]
    while waiting:
        node = graph.nodes.get(waiting.pop())
        if node is None or node.digest in found or node.kind == "version":
            continue
        found[node.digest] = node
        waiting += node.inputs.values()
    return sorted(found.values(), key=lambda node: (node.kind, node.digest))


def _dependency(node: Node) -> dict[str, Any]:
    return {"name": node.label or node.kind, "digest": {"sha256": node.digest}}


def _code(nodes: Iterable[Node]) -> list[dict[str, Any]]:
    """The code that ran, and the list of what was installed beside it, where they were kept."""
    records = [node.made_by for node in nodes if node.made_by is not None]
    found = {("code", each.sources) for each in records} | {
        ("environment", each.environment) for each in records
    }
    kept = sorted((name, digest) for name, digest in found if digest is not None)
    return [{"name": name, "digest": {"sha256": digest}} for name, digest in kept]


def _check_format(told: dict[str, Any]) -> None:
    """Raise ValueError or ParseError where the formats' own definitions do not take it."""
    json_format.ParseDict(told["predicate"], provenance_pb2.Provenance())
    statement = Statement([], "", {})
    json_format.ParseDict({name.removeprefix("_"): value for name, value in told.items()}, statement.pb)
    statement.pb.type = told["_type"]
    statement.validate()


def differences(payload: bytes, expected: bytes) -> Iterator[str]:
    """The places where a statement says something else than what is true now, with both values."""
    yield from _compare("", json.loads(payload), json.loads(expected))


def _compare(where: str, found: Any, expected: Any) -> Iterator[str]:
    if isinstance(found, dict) and isinstance(expected, dict):
        for name in sorted({*found, *expected}):
            yield from _compare(f"{where}.{name}".lstrip("."), found.get(name), expected.get(name))
    elif isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        for index, pair in enumerate(zip(found, expected, strict=True)):
            yield from _compare(f"{where}[{index}]", *pair)
    elif found != expected:
        yield f"{where} is {json.dumps(found)[:80]}, and {json.dumps(expected)[:80]} was expected"
