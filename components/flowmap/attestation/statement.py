"""What is stated of a version, of a step's run and of an alias's move: the same bytes whenever it is asked.

    statement_of(trace(store, version), version)        # how a version was made: SLSA provenance
    statement_of_run(digest, record)                    # what one step of one run did: SLSA provenance too
    statement_of_move(registry, "production", 3, move)  # who let an alias point where, and why

Everything in them is in the store's records already; a statement holds it together in a form that tools of
others read, so that one signature is over all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowmap.artifacts.digest import is_digest
from flowmap.attestation.formats import PROVENANCE, resource, statement
from flowmap.audit.graph import Graph, Node
from flowmap.errors import IntegrityError
from flowmap.lineage.record import StepRecord
from flowmap.registry import Move, Registry, Version

MOVE = "urn:flowmap:move:v1"
_PIPELINE, _STEP = "urn:flowmap:pipeline:v1", "urn:flowmap:step:v1"


def statement_of(graph: Graph, version: Version) -> bytes:
    """How a version was made; its subjects are the published files.

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
    records = [node.made_by for node in [*beneath, *judged] if node.made_by is not None]
    verdict = {"verdict": version.verdict.get("verdict", version.role)}
    predicate = {
        "buildDefinition": {
            "buildType": _PIPELINE,
            "externalParameters": {
                "model": f"{version.name}@{version.version}",
                "configuration": record.config,
            },
            "internalParameters": {
                each.step: {"code": each.code_version, "libraries": each.decisive_libraries or {}}
                for each in sorted(records, key=lambda each: each.step)
            },
            "resolvedDependencies": [
                *(resource(node.label or node.kind, node.digest) for node in beneath),
                *_code(records),
            ],
        },
        "runDetails": {
            **_run(record),
            "byproducts": [{**resource("evaluation", version.evaluation), "annotations": verdict}],
        },
    }
    subject = [resource(entry.path, entry.sha256) for entry in version.manifest.files]
    return statement(subject, PROVENANCE, predicate)


def statement_of_run(digest: str, record: StepRecord) -> bytes:
    """What one step of one run did; its subject is the artifact that it came to.

    Args:
        digest: the record's own.
    """
    used = sorted((name, each) for name, each in record.inputs.items() if is_digest(each))
    predicate = {
        "buildDefinition": {
            "buildType": _STEP,
            "externalParameters": {"step": record.step, "configuration": record.config or record.section},
            "internalParameters": {
                "stepDigest": record.step_digest,
                "function": record.function,
                "code": record.code_version,
                "libraries": record.decisive_libraries or {},
                "instructionSet": record.instruction_set,
                "threads": record.threads,
                **_gpu(record),
                "reused": record.reused,
            },
            "resolvedDependencies": [*(resource(*each) for each in used), *_code([record])],
        },
        "runDetails": {**_run(record), "byproducts": [resource("record", digest)]},
    }
    return statement([resource(record.step, record.output)], PROVENANCE, predicate)


def statement_of_move(registry: Registry, alias: str, number: int, move: Move) -> bytes:
    """Who let an alias point to a version, when and why; its subject is that version.

    Raises UnknownModelError where it leads to a version that there is none of.
    """
    version = registry.resolve(str(move.version))
    moved = move.model_dump(mode="json", exclude={"envelope"})
    told = {"model": registry.name, "alias": alias, "number": number, **moved}
    subject = resource(f"{registry.name}@{move.version}", version.manifest.digest)
    return statement([subject], MOVE, told)


def _run(record: StepRecord) -> dict[str, Any]:
    return {
        "builder": {"id": f"urn:flowmap:host:{record.host}", "version": record.libraries},
        "metadata": {"invocationId": record.run_id, "finishedOn": record.finished_at},
    }


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


def _code(records: Sequence[StepRecord]) -> list[dict[str, Any]]:
    """The code that ran, the list of what was installed beside it, and the images that both were in, as far
    as they are on record."""
    kept = {("code", each.sources) for each in records} | {
        ("environment", each.environment) for each in records
    }
    found = [resource(name, digest) for name, digest in sorted((n, d) for n, d in kept if d is not None)]
    return found + [_image(name) for name in sorted({each.image for each in records if each.image})]


def _image(reference: str) -> dict[str, Any]:
    name, _, digest = reference.partition("@sha256:")
    return {**resource("image", digest), "uri": name} if digest else {"name": "image", "uri": name}


def _gpu(record: StepRecord) -> dict[str, Any]:
    """Nothing where there was none: what was stated before this was kept stays the same bytes."""
    return {} if record.gpu is None else {"gpu": record.gpu, "driver": record.driver}
