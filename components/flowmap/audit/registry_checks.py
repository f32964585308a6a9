"""Whether the registry of a model is whole: every move of an alias, every attempt at the gate, every
rejection, and what the runs that published say they did.

Nobody reads most of these objects to draw from a model, so one that is changed or gone would be missed by
nobody else; what each of them has to say stands somewhere else too.
"""

from __future__ import annotations

import json
from typing import Any

from flowmap.artifacts.store import ObjectStore
from flowmap.artifacts.transfer import artifact_prefix
from flowmap.audit.faults import Audit
from flowmap.errors import IntegrityError, Spoiled
from flowmap.json_text import read_json
from flowmap.lineage.edges import read_record, read_records, user_digests
from flowmap.lineage.record import RECORDS, StepRecord
from flowmap.registry import Judged, Registry, Rejection, Version
from flowmap.registry.evaluation_result import Verdict, figures_of, read_judgement
from flowmap.registry.records import read_kept
from flowmap.settings import ANCHOR

PUSH = "registry_push"
_MOST_USERS = 10_000
_UNREAD = "evaluation"
_PUBLISHED = ("published", "already promoted")


def check_registry(registry: Registry, audit: Audit) -> None:
    """Look at what a registry keeps beside the versions."""
    versions = registry.versions(audit.add)
    _check_moves(registry, versions, audit)
    attempts = _attempts(registry, audit)
    rejections = _rejections(registry, audit)
    for each in [*versions, *rejections]:
        _check_attempt(registry, each, attempts, audit)
    for candidate in sorted({candidate for candidate, _ in attempts.values()}):
        _check_rejected(registry, candidate, audit)


def pushes(store: ObjectStore, version: Version, spoiled: Spoiled | None = None) -> dict[str, StepRecord]:
    """By digest, the records of the runs that published what a version's evaluation judged; `spoiled` as for
    `read_records`.

    Raises IntegrityError where one is gone or is not what it was, and nobody is to be told.
    """
    users = set(user_digests(store, version.evaluation, _MOST_USERS))
    if (
        version.role == "tuned"
    ):  # two ways to find it, should an edge be gone; of a base a whole house's runs
        users |= set(user_digests(store, version.candidate, _MOST_USERS))
    return {
        digest: each
        for digest, each in read_records(store, sorted(users), spoiled).items()
        if each.step == PUSH
        and each.inputs.get("evaluation") == version.evaluation
        and (each.config or {}).get("name", version.name) == version.name  # other names share evaluations
    }


def check_pushed(registry: Registry, version: Version, record: StepRecord, audit: Audit) -> None:
    """A run that says it let an alias point to a version did so."""
    told = _outcome(registry.store, record)
    alias = str(told.get("alias"))
    if told.get("outcome") not in _PUBLISHED or told.get("version") != version.version:
        return
    try:
        there = [move.version for move in registry.moves(alias)]
    except IntegrityError:
        return  # which is told of the move that is gone
    older = registry.store.exists(f"models/{registry.name}/aliases/{alias}")
    if version.version not in there and not older:
        audit.add(
            f"models/{registry.name}/moves/{alias}/",
            f"no move leads to version {version.version}, and run {record.run_id} made one",
        )


def _check_moves(registry: Registry, versions: list[Version], audit: Audit) -> None:
    """Each move of an alias begins where the one before it ended, and leads to a version that there is."""
    known = {version.version: version for version in versions}
    for name in registry.moved.lost():
        audit.add(name, "is missing: there are later moves of that alias, or signatures of this one")
    for alias, numbers in registry.moved.numbers().items():
        points_to, before, last = None, None, 0
        for number in numbers:
            name = registry.moved.name(alias, number)
            try:
                move = registry.moved.read(alias, number)
            except IntegrityError as error:
                audit.add(name, str(error))
                continue
            if number != last + 1:  # what it follows is gone or unread, which is told of that
                points_to, before = None, None
            if before is not None and move.previous not in (None, before.says):
                told = f"{before.says[:12]}, and move {number} followed one that said {move.previous[:12]}"
                audit.add(registry.moved.name(alias, number - 1), f"says {told}")
            if before is not None and before.previous is not None and move.previous is None:
                audit.add(name, "names no move that it followed, and the one before it does")
            if number > 1 and points_to is not None and move.before != points_to:
                audit.add(name, f"moves {alias} from version {move.before}, and it pointed to {points_to}")
            version = known.get(move.version)
            if version is None and not registry.store.exists(
                f"models/{registry.name}/{move.version}/version.json"
            ):
                gone = f"models/{registry.name}/{move.version}/version.json is missing"
                audit.add(name, f"moves {alias} to version {move.version}, which there is none of: {gone}")
            elif version is not None and move.evaluation not in (None, version.evaluation):
                audit.add(
                    name, f"rests on evaluation {move.evaluation}, and version {move.version} on another"
                )
            points_to, before, last = move.version, move, number
            audit.num_moves += 1
    bases = [version.version for version in versions if version.role == "base"]
    if bases and ANCHOR not in registry.moved.numbers():
        audit.notes.append(
            f"no {ANCHOR} of {registry.name} is on record, and version {bases[0]} is a base: a run that was "
            "killed leaves that, and the next one mends it"
        )


def _attempts(registry: Registry, audit: Audit) -> dict[int, tuple[str, str]]:
    """Who took which attempt, as far as that can be read."""
    found: dict[int, tuple[str, str]] = {}
    for name in registry.store.names(f"models/{registry.name}/attempts"):
        try:
            candidate, terms = read_json(registry.store.get(name))
            found[int(name.rsplit("/", 1)[-1].removesuffix(".json"))] = str(candidate), str(terms)
        except KeyError:
            audit.add(name, "is missing")
        except (ValueError, TypeError) as error:
            audit.add(name, f"was changed after it was written: no candidate and terms, {error}")
    missing = [number for number in range(1, max(found, default=0)) if number not in found]
    if missing:
        told = ", ".join(_attempt_name(registry, number) for number in missing)
        audit.notes.append(
            f"there are later attempts at the gate than {told}, and none of those: a version that was "
            "imported from another store leaves that"
        )
    return found


def _rejections(registry: Registry, audit: Audit) -> list[Rejection]:
    """Those that can be read, each compared with its evaluation."""
    found = []
    for name in registry.store.names(f"models/{registry.name}/rejections"):
        try:
            rejection = read_kept(registry.store, name, Rejection)
        except IntegrityError as error:
            audit.add(name, str(error))
            continue
        found.append(rejection)
        if (rejection.name, f"{rejection.evaluation}.json") != (registry.name, name.rsplit("/", 1)[-1]):
            audit.add(name, f"calls itself one of {rejection.name}, by evaluation {rejection.evaluation}")
        for each in differing(registry.store, rejection):
            unread = "rests on an evaluation that can't be read any more"
            audit.add(name, unread if each == _UNREAD else f"has another {each} than its evaluation says")
    return found


def differing(store: ObjectStore, judged: Judged) -> list[str]:
    """What a candidate's judgement says otherwise than its evaluation does: nothing where that is gone, and
    `evaluation` where it is none."""
    try:
        verdict, metrics = read_judgement(store, judged.evaluation)
    except IntegrityError:
        return []
    except ValueError:
        return [_UNREAD]
    try:
        expected = {
            "figures": figures_of(metrics, verdict),
            "verdict": verdict_told(verdict),
            "incumbent": metrics["incumbent"],
            "trial": trial_told(verdict),
        }
    except (KeyError, TypeError):  # JSON, and not of an evaluation
        return [_UNREAD]
    told = {**judged.model_dump(), "verdict": verdict_told(judged.verdict)}
    return [name for name, value in expected.items() if json.dumps(told[name]) != json.dumps(value)]


def verdict_told(verdict: Verdict | dict[str, Any]) -> dict[str, Any] | None:
    """All that a verdict says, with what an older flowmap left open; None for none."""
    try:
        return Verdict.model_validate(verdict).model_dump(mode="json")
    except ValueError:
        return None


def trial_told(verdict: Verdict) -> int | None:
    """The number of the attempt, where the verdict says it: older ones do not."""
    return verdict.trial if "trial" in verdict.model_fields_set else None


def _check_attempt(
    registry: Registry, judged: Judged, attempts: dict[int, tuple[str, str]], audit: Audit
) -> None:
    """What was judged has the number of its attempt."""
    if judged.trial is None:
        return
    name = _attempt_name(registry, judged.trial)
    called = f"version {judged.version}" if isinstance(judged, Version) else "a rejected candidate"
    if judged.trial not in attempts:
        if not registry.store.exists(name):
            audit.add(name, f"is missing: the attempt at the gate of {called}, {judged.candidate}")
    elif isinstance(judged, Version) and attempts[judged.trial][0] != judged.candidate:
        audit.add(name, f"is another's than that of {called}, {judged.candidate}")


def _check_rejected(registry: Registry, candidate: str, audit: Audit) -> None:
    """Every rejection that a run says it recorded of a candidate is there."""
    for digest in user_digests(registry.store, candidate, _MOST_USERS):
        try:
            record = read_record(registry.store, digest)
        except (IntegrityError, ValueError) as error:
            audit.add(f"{RECORDS}/{digest}.json", str(error).splitlines()[0])
            continue
        if record.step != PUSH or (record.config or {}).get("name") != registry.name:
            continue
        name = f"models/{registry.name}/rejections/{record.inputs.get('evaluation')}.json"
        if _outcome(registry.store, record).get("outcome") == "rejected" and not registry.store.exists(name):
            audit.add(name, f"is missing: run {record.run_id} recorded that rejection")


def _outcome(store: ObjectStore, record: StepRecord) -> dict[str, Any]:
    """What a run that published says of itself; nothing where that can't be read."""
    try:
        found = read_json(store.get(f"{artifact_prefix(record.output)}/outcome.json"))
    except (KeyError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _attempt_name(registry: Registry, number: int) -> str:
    return f"models/{registry.name}/attempts/{number}.json"
