"""The digest of a step: exactly what its result depends on.

It is followed by whoever runs a step, and by whoever plans a run before there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any

from flowmap.artifacts.digest import canonical_json, sha256_of
from flowmap.settings import RunConfig
from flowmap.steps.code_version import code_version
from flowmap.steps.step import Inputs, Step


def without_build(version: str) -> str:
    """A version without what tells its builds apart: torch for a CPU is `2.14.0+cpu`."""
    return version.partition("+")[0]


def installed(library: str) -> str | None:
    """The version of a library, without what tells builds of one version apart; None where it is not
    installed."""
    try:
        return without_build(metadata.version(library))
    except metadata.PackageNotFoundError:
        return None


def decisions(
    step: Step, config: RunConfig, inputs: Inputs, version: Callable[[str], str | None] = installed
) -> dict[str, Any]:
    """Everything that decides a step's result, as it is digested and recorded.

    Args:
        inputs: with what the step reads outside the store.
        version: of a library; None where it is not known.
    """
    section = step.section(config)
    found = {
        "step": step.name,
        "function": step.function,
        "code": code_version(step.name, step.modules(config)),
        "section": section.decisive(),
        "inputs": {name: each.digest for name, each in inputs.items()},
    }
    if not config.reuse_across_versions:
        found["libraries"] = {
            library: version(library) for library in (*step.libraries, *step.more_libraries(config))
        }
    return found


def digest_of(decided: Mapping[str, Any]) -> str:
    """The step digest."""
    return sha256_of(canonical_json(decided))
