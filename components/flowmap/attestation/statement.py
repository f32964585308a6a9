"""What is stated of a version and of an alias's move: the same bytes whenever it is asked.

    statement_of(trace(store, version), version)        # how a version was made: SLSA provenance
    statement_of_move(registry, "production", 3, move)  # who let an alias point where, and why
    statement_of_retirement(version, told)              # who took it out of use, and why

Everything in them is in the store's records already; a statement holds it together in a form that tools of
others read, so that one signature is over all of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from flowmap.artifacts.manifest import FileEntry
from flowmap.audit.graph import Graph, beneath, maker_of
from flowmap.errors import IntegrityError
from flowmap.lineage.formats import PROVENANCE, resource, statement
from flowmap.lineage.statement import code_of, expectations_of, run_of
from flowmap.registry import Move, Registry, Version
from flowmap.registry.retiring import Retirement

MOVE = "urn:flowmap:move:v1"
RETIREMENT = "urn:flowmap:retirement:v1"
_PIPELINE = "urn:flowmap:pipeline:v1"


def statement_of(graph: Graph, version: Version) -> bytes:
    """How a version was made; its subjects are the published files.

    Args:
        graph: what `trace` found of it.

    Raises IntegrityError where no record says how the candidate was made.
    """
    made = graph.nodes.get(version.candidate)
    record = None if made is None else maker_of(version, made)
    if record is None:
        raise IntegrityError(
            f"{version.name}@{version.version}: no record says how {version.candidate[:12]} was made, so "
            "there is nothing to state"
        )
    below, outside = beneath(graph, version), version.outside or {}
    judged = [graph.nodes[version.evaluation]] if version.evaluation in graph.nodes else []
    makers = (maker_of(version, node) for node in [*below, *judged])
    records = [each for each in makers if each is not None]
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
                *(resource(outside.get(node.digest, node.step), node.digest) for node in below),
                *code_of(records),
            ],
        },
        "runDetails": {
            **run_of(record),
            "byproducts": [
                {**resource("evaluation", version.evaluation), "annotations": verdict},
                *(resource(entry.path, entry.sha256) for entry in _documents(version)),
                *expectations_of(sorted(records, key=lambda each: each.step)),
            ],
        },
    }
    subject = [resource(entry.path, entry.sha256) for entry in version.manifest.files]
    return statement(subject, PROVENANCE, predicate)


def statement_of_move(registry: Registry, alias: str, number: int, move: Move) -> bytes:
    """Who let an alias point to a version, when and why; its subject is that version.

    Raises UnknownModelError where it leads to a version that there is none of.
    """
    version = registry.resolve(str(move.version))
    moved = move.model_dump(mode="json", exclude={"envelope"})
    told = {"model": registry.name, "alias": alias, "number": number, **moved}
    subject = resource(f"{registry.name}@{move.version}", version.manifest.digest)
    return statement([subject], MOVE, told)


def statement_of_retirement(version: Version, told: Retirement) -> bytes:
    """Who took a version out of use, when and why; its subject is that version."""
    said = told.model_dump(mode="json", exclude={"envelope"})
    subject = resource(f"{version.name}@{version.version}", version.manifest.digest)
    return statement([subject], RETIREMENT, {"model": version.name, "version": version.version, **said})


def _documents(version: Version) -> Iterable[FileEntry]:
    return () if version.documents is None else version.documents.files
