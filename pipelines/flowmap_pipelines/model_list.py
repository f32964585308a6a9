"""What is registered, for people and for programs."""

from __future__ import annotations

from typing import Any

from flowmap.artifacts.store import ObjectStore
from flowmap.registry import Registry, UnknownModelError, Version, model_names

FIGURES = ("judge_accuracy", "judge_log_probability", "fd_judge", "recall", "diversity")


def find_version(store: ObjectStore, reference: str, default: str = "production") -> Version:
    """The version that NAME, NAME@VERSION or NAME@ALIAS stands for. Raises UnknownModelError."""
    name, _, which = reference.partition("@")
    known = model_names(store)
    if name not in known:
        there = f"there is {', '.join(known)}" if known else "there is no model yet; `flowmap run` makes one"
        raise UnknownModelError(f"{name!r}: no such model in {store.url}; {there}")
    return Registry(store, name).resolve(which or default)


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
            "versions": [version.model_dump(mode="json") for version in registry.versions()],
            "aliases": registry.aliases(),
            "rejections": [rejection.model_dump(mode="json") for rejection in registry.rejections()],
        }
    return found


def models_text(found: dict[str, dict[str, Any]]) -> str:
    """One line for each version and each rejected candidate."""
    lines = []
    for name, entry in found.items():
        for version in entry["versions"]:
            aliases = [alias for alias, number in entry["aliases"].items() if number == version["version"]]
            lines.append(
                _line(f"{name}@{version['version']}", version["manifest"]["digest"], version, aliases)
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
