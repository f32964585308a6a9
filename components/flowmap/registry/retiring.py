"""Versions that are used no more: they stay on record, and nothing is drawn from them or led to them.

    retire(registry, version, "trained on pictures that were taken back")
    why = retirement_of(registry.store, version)       # None for a version in use

`models/<name>/<version>/retired.json` is written once; there is no way back but another version. Where
somebody signs it the envelope is in it, and a copy lies beside, so that neither can be taken away unseen;
who takes away both leaves no trace.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from flowmap.artifacts.store import ObjectStore
from flowmap.errors import ConfigError, FlowmapError, IntegrityError
from flowmap.registry.records import Version, read_kept
from flowmap.registry.who import who

if TYPE_CHECKING:
    from flowmap.registry.versions import Registry


class RetiredError(FlowmapError):
    """A version was retired; the message says by whom and why."""


class Retirement(BaseModel):
    """Why a version is used no more, who said so, and when."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    schema_version: int = 1
    reason: str
    who: str
    retired_at: datetime
    envelope: dict[str, Any] | None = Field(default=None, exclude_if=lambda envelope: envelope is None)


Seal = Callable[[Retirement], dict[str, Any]]


def retire(registry: Registry, version: Version, reason: str, seal: Seal | None = None) -> Retirement:
    """Take a version out of use, once.

    Args: seal: signs it.

    Raises ConfigError where an alias points to it: whoever follows that would stand without a model.
    """
    there = sorted(alias for alias, number in registry.aliases().items() if number == version.version)
    if there:
        raise ConfigError(
            f"{registry.name}@{version.version}: {', '.join(there)} points to it; point that elsewhere "
            "first, with `flowmap models promote` or `rollback`"
        )
    told = Retirement(reason=reason, who=who(), retired_at=datetime.now(UTC).replace(microsecond=0))
    if seal is not None:
        told = told.model_copy(update={"envelope": seal(told)})
    write_retirement(registry.store, version, told)
    return read_kept(registry.store, retirement_name(version), Retirement)


def write_retirement(store: ObjectStore, version: Version, told: Retirement) -> bool:
    """Write it where there is none; returns whether that was now."""
    return store.create(retirement_name(version), told.model_dump_json(indent=1).encode())


def retirement_of(store: ObjectStore, version: Version) -> Retirement | None:
    """Why a version is used no more; None where it is in use.

    Raises IntegrityError where it is gone and signatures of it are there.
    """
    name = retirement_name(version)
    if store.exists(name):
        return read_kept(store, name, Retirement)
    if any(True for _ in store.names(folder_of_retirement(version))):
        raise IntegrityError(
            f"{name} is missing, and signatures of it are there: `flowmap lineage mend` writes it again"
        )
    return None


def folder_of_retirement(version: Version) -> str:
    """Where signatures of it lie."""
    return f"models/{version.name}/{version.version}/retirement"


def check_in_use(store: ObjectStore, version: Version) -> None:
    """Raise RetiredError where a version is used no more."""
    if told := retirement_of(store, version):
        raise RetiredError(
            f"{version.name}@{version.version} was retired on {told.retired_at:%Y-%m-%d} by {told.who}: "
            f"{told.reason}"
        )


def retirement_name(version: Version) -> str:
    """Of the object that it is."""
    return f"models/{version.name}/{version.version}/retired.json"
