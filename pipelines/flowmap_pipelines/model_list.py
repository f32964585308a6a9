"""What is registered, for people and for programs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flowmap.artifacts.store import ObjectStore
from flowmap.errors import IntegrityError
from flowmap.registry import Registry, Rejection, UnknownModelError, Version, model_names
from flowmap.registry.retiring import retirement_of
from flowmap.settings import ANCHOR, REJECTED

FIGURES = ("judge_accuracy", "judge_log_probability", "fd_judge", "recall", "diversity")


PRODUCTION = "production"
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def find_version(store: ObjectStore, reference: str) -> Version:
    """The version that NAME, NAME@VERSION or NAME@ALIAS stands for.

    NAME alone is what `production` points to, or where no candidate has ever passed, the base.

    Raises UnknownModelError.
    """
    name, _, which = reference.partition("@")
    known = model_names(store)
    if name not in known:
        there = f"there is {', '.join(known)}" if known else "there is no model yet; `flowmap run` makes one"
        raise UnknownModelError(f"{name!r}: no such model in {store.url}; {there}")
    registry = Registry(store, name)
    return registry.resolve(which or _meant(registry))


def followed(store: ObjectStore, reference: str) -> str | None:
    """The alias by which `find_version` gets from there to a version; None where a number stands there."""
    name, _, which = reference.partition("@")
    registry = Registry(store, name)
    alias = which or _meant(registry)
    return alias if alias in registry.aliases() else None


def _meant(registry: Registry) -> str:
    """The alias that a name alone stands for."""
    has_passed = any(version.role == "tuned" for version in registry.versions())
    return PRODUCTION if has_passed else ANCHOR


def find_judged(store: ObjectStore, reference: str) -> Version | Rejection:
    """The same; NAME@rejected is the candidate that was turned down last.

    Raises UnknownModelError, where none was too.
    """
    name, _, which = reference.partition("@")
    if which != REJECTED or name not in model_names(store):
        return find_version(store, reference)
    rejections = Registry(store, name).rejections()
    if not rejections:
        raise UnknownModelError(f"{name}: no candidate of that model was rejected")
    return max(rejections, key=lambda each: (each.rejected_at or _LONG_AGO, each.trial or 0))


def instead_of_production(store: ObjectStore, reference: str, version: Version) -> str | None:
    """What to tell somebody who asked for NAME and gets its base; None where they got what they wanted."""
    if "@" in reference or version.role != "base":
        return None
    told = f"no candidate of {version.name} has passed the gate: this is its base, version {version.version}"
    if not Registry(store, version.name).rejections():
        return told
    last = find_judged(store, f"{version.name}@{REJECTED}")
    failed = [each["name"] for each in last.verdict["criteria"] if not each["passed"]]
    return (
        f"{told}; the last one was rejected for {', '.join(failed)}: to look at it, ask for "
        f"{version.name}@{REJECTED}"
    )


def list_models(store: ObjectStore, name: str | None = None) -> dict[str, dict[str, Any]]:
    """Versions, aliases and rejections of every model, or of the named one. Raises UnknownModelError."""
    names = model_names(store)
    if name is not None and name not in names:
        raise UnknownModelError(
            f"{name!r}: no such model in {store.url}; there is {', '.join(names) or 'none yet'}"
        )
    found = {}
    for each in names if name is None else [name]:
        registry = Registry(store, each)
        found[each] = {
            "versions": [_version(registry, version) for version in registry.versions()],
            "aliases": registry.aliases(),
            "rejections": [rejection.model_dump(mode="json") for rejection in registry.rejections()],
        }
    return found


def _version(registry: Registry, version: Version) -> dict[str, Any]:
    return {**version.model_dump(mode="json"), "retired": _retired(registry, version)}


def _retired(registry: Registry, version: Version) -> dict[str, Any] | None:
    """Why a version is used no more; a record of it that is damaged is told as that, and ends no list."""
    try:
        told = retirement_of(registry.store, version)
    except IntegrityError as error:
        return {"reason": str(error)}
    return None if told is None else told.model_dump(mode="json", exclude={"envelope"})


def models_text(found: dict[str, dict[str, Any]]) -> str:
    """One line for each version and each rejected candidate."""
    lines = []
    for name, entry in found.items():
        for version in entry["versions"]:
            aliases = [alias for alias, number in entry["aliases"].items() if number == version["version"]]
            notes = [*aliases, *(["(base)"] if version["role"] == "base" else [])]
            if version["retired"]:
                notes.append(f"(retired: {version['retired']['reason']})")
            lines.append(
                _line(f"{name}@{version['version']}", version["manifest"]["digest"], version, notes)
            )
        for rejection in entry["rejections"]:
            failed = [c["name"] for c in rejection["verdict"]["criteria"] if not c["passed"]]
            lines.append(
                _line(f"{name} rejected", rejection["candidate"], rejection, ["failed", ", ".join(failed)])
            )
    return "\n".join(lines) if lines else "no models yet; `flowmap run CONFIG` makes one"


def _line(what: str, digest: str, entry: dict[str, Any], notes: list[str]) -> str:
    figures = "  ".join(f"{key} {entry['figures'][key]:.3f}" for key in FIGURES)
    return f"{what:<24}{digest[:12]}  {figures}  {' '.join(notes)}".rstrip()
