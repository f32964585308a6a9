"""Versions that are used no more: they stay on record, and nothing is drawn from them or led to them.

    retire(registry, version, "trained on pictures that were taken back")
    why = retirement_of(registry.store, version)       # None for a version in use

`models/<name>/<version>/retired.json` is written once; there is no way back but another version.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from flowmap.artifacts.store import ObjectStore
from flowmap.errors import ConfigError, FlowmapError
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


def retire(registry: Registry, version: Version, reason: str) -> Retirement:
    """Take a version out of use, once.

    Raises ConfigError where an alias points to it: whoever follows that would stand without a model.
    """
    there = sorted(alias for alias, number in registry.aliases().items() if number == version.version)
    if there:
        raise ConfigError(
            f"{registry.name}@{version.version}: {', '.join(there)} points to it; point that elsewhere "
            "first, with `flowmap models promote` or `rollback`"
        )
    told = Retirement(reason=reason, who=who(), retired_at=datetime.now(UTC).replace(microsecond=0))
    registry.store.create(_name(version), told.model_dump_json(indent=1).encode())
    return read_kept(registry.store, _name(version), Retirement)


def retirement_of(store: ObjectStore, version: Version) -> Retirement | None:
    """Why a version is used no more; None where it is in use."""
    return read_kept(store, _name(version), Retirement) if store.exists(_name(version)) else None


def check_in_use(store: ObjectStore, version: Version) -> None:
    """Raise RetiredError where a version is used no more."""
    if told := retirement_of(store, version):
        raise RetiredError(
            f"{version.name}@{version.version} was retired on {told.retired_at:%Y-%m-%d} by {told.who}: "
            f"{told.reason}"
        )


def _name(version: Version) -> str:
    return f"models/{version.name}/{version.version}/retired.json"
