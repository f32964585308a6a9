"""The formats of statements: what is said, checked against the formats' own definitions, as canonical bytes.

Source: in-toto attestation (github.com/in-toto/attestation, spec v1), SLSA provenance (slsa.dev, v1).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1.statement import STATEMENT_TYPE_URI, Statement

from flowmap.artifacts.digest import canonical_json
from flowmap.json_text import read_json

PROVENANCE = "https://slsa.dev/provenance/v1"


def resource(name: str, digest: str) -> dict[str, Any]:
    """Something with a digest, as statements name it."""
    return {"name": name, "digest": {"sha256": digest}}


def statement(subject: list[dict[str, Any]], kind: str, predicate: Mapping[str, Any]) -> bytes:
    """An in-toto Statement v1 as canonical JSON.

    Args:
        subject: what it is about, each a `resource`.
        kind: the predicate's type.

    Raises ValueError or ParseError where the formats do not take it.
    """
    told = {
        "_type": STATEMENT_TYPE_URI,
        "subject": subject,
        "predicateType": kind,
        "predicate": dict(predicate),
    }
    if kind == PROVENANCE:
        json_format.ParseDict(told["predicate"], provenance_pb2.Provenance())
    parsed = Statement([], "", {})
    json_format.ParseDict({name.removeprefix("_"): value for name, value in told.items()}, parsed.pb)
    parsed.pb.type = STATEMENT_TYPE_URI
    parsed.validate()
    return canonical_json(told)


def differences(payload: bytes, expected: bytes) -> Iterator[str]:
    """The places where a statement says something else than what is true now, with both values."""
    yield from _compare("", read_json(payload), read_json(expected))


def _compare(where: str, found: Any, expected: Any) -> Iterator[str]:
    if isinstance(found, dict) and isinstance(expected, dict):
        for name in sorted({*found, *expected}):
            yield from _compare(f"{where}.{name}".lstrip("."), found.get(name), expected.get(name))
    elif isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        for index, pair in enumerate(zip(found, expected, strict=True)):
            yield from _compare(f"{where}[{index}]", *pair)
    elif found != expected:
        yield f"{where} is {json.dumps(found)[:80]}, and {json.dumps(expected)[:80]} was expected"
