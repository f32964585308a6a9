"""What one step of one run did, stated for tools of others: an in-toto Statement with SLSA provenance.

    payload = statement_of_run(digest, record)       # the same bytes whenever it is asked
    keep_run(store, digest, record)                  # beside its envelopes, under the digest of those bytes

Everything in a statement is in the record already. It is kept before the record is, signed or not; whoever
has a key signs it later.

Source: in-toto attestation v1, SLSA provenance v1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowmap.artifacts.digest import is_digest, sha256_of
from flowmap.artifacts.store import ObjectStore
from flowmap.lineage.formats import PROVENANCE, resource, statement
from flowmap.lineage.record import RECORDS, StepRecord

_SUFFIX = ".statement.json"
_STEP = "urn:flowmap:step:v1"


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
            "resolvedDependencies": [*(resource(*each) for each in used), *code_of([record])],
        },
        "runDetails": {
            **run_of(record),
            "byproducts": [resource("record", digest), *expectations_of([record])],
        },
    }
    return statement([resource(record.step, record.output)], PROVENANCE, predicate)


def run_of(record: StepRecord) -> dict[str, Any]:
    """Who built, in which run, and when."""
    began = {} if record.started_at is None else {"startedOn": record.started_at}
    return {
        "builder": {"id": f"urn:flowmap:host:{record.host}", "version": record.libraries},
        "metadata": {"invocationId": record.run_id, **began, "finishedOn": record.finished_at},
    }


def code_of(records: Sequence[StepRecord]) -> list[dict[str, Any]]:
    """The code that ran, the list of what was installed beside it, and the images that both were in, as far
    as they are on record."""
    kept = {("code", each.sources) for each in records} | {
        ("environment", each.environment) for each in records
    }
    found = [resource(name, digest) for name, digest in sorted((n, d) for n, d in kept if d is not None)]
    return found + [_image(name) for name in sorted({each.image for each in records if each.image})]


def expectations_of(records: Sequence[StepRecord]) -> list[dict[str, Any]]:
    """What was checked of the data, and met: a step whose data fail one comes to nothing."""
    return [
        {"name": "expectations", "annotations": {"step": each.step, "met": list(each.expectations)}}
        for each in records
        if each.expectations is not None
    ]


def folder_of_run(record: str) -> str:
    """Where a run's statement lies, by its record's digest, and its envelopes."""
    return f"{RECORDS}/statements/{record}"


def statement_name(folder: str, payload: bytes) -> str:
    """What a statement is called: by its digest."""
    return f"{folder}/{sha256_of(payload)}{_SUFFIX}"


def is_statement(name: str) -> bool:
    """Whether an object is a statement as such, and no envelope with one in it."""
    return name.endswith(_SUFFIX)


def keep(store: ObjectStore, folder: str, payload: bytes) -> str | None:
    """Write a statement once; its name if that was now."""
    name = statement_name(folder, payload)
    return name if store.create(name, payload) else None


def _image(reference: str) -> dict[str, Any]:
    name, _, digest = reference.partition("@sha256:")
    return {**resource("image", digest), "uri": name} if digest else {"name": "image", "uri": name}


def _gpu(record: StepRecord) -> dict[str, Any]:
    """Nothing where there was none: what was stated before this was kept stays the same bytes."""
    return {} if record.gpu is None else {"gpu": record.gpu, "driver": record.driver}
