"""What the registry keeps, each written once: versions, rejections, and the moves of an alias."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from flowmap.artifacts.digest import canonical_json, sha256_of
from flowmap.artifacts.manifest import Manifest
from flowmap.artifacts.store import ObjectStore, read_there
from flowmap.errors import IntegrityError, Spoiled
from flowmap.json_text import read_json

Role = Literal["base", "tuned"]
Kept = TypeVar("Kept", bound=BaseModel)


class Judged(BaseModel):
    """A candidate and what the gate said of it.

    Attributes:
        candidate: digest of the artifact that the gate judged.
        evaluation: digest of the evaluation's artifact, with the figures and the report.
        incumbent: digest of the model it was judged against; None where that was its own base.
        verdict: the gate's criteria, figures and thresholds.
        figures: the figures at the trained grid, for listings.
        trial: which attempt at the gate it was, of all candidates of that name; None for a base.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")
    schema_version: int = 1
    name: str
    candidate: str
    evaluation: str
    incumbent: str | None
    verdict: dict[str, Any]
    figures: dict[str, float]
    trial: int | None = None


class Version(Judged):
    """One published version; the manifest is that of the published files, and its digest the model's.

    Attributes:
        documents: what was published beside them: model card, bill of materials, samples; None of a version
            from before there were any.
        records: which run made each artifact that it rests on, as was known when it was published: digests
            of records by those of artifacts. Other runs that came to the same bytes may be on record too, or
            come from another store later. None of a version from before this was kept.
        outside: digests beneath it of what no step made, with what each is there: `source`, `checkpoint`.
            None of a version from before this was kept.
        role: `tuned` for what passed the gate, `base` for what it was held against.
        grid: the times of a base's figures, which names none itself.
    """

    version: int
    manifest: Manifest
    documents: Manifest | None = None
    records: dict[str, str] | None = None
    outside: dict[str, str] | None = None
    role: Role = "tuned"
    grid: tuple[float, ...] | None = None


class Rejection(Judged):
    """A candidate that the gate turned down.

    Attributes:
        rejected_at: None in those of older versions.
    """

    rejected_at: datetime | None = None


class Move(BaseModel):
    """Where an alias went, and why.

    Attributes:
        version: what it points to since.
        before: what it pointed to, as whoever moved it found or expected it; None for its first move.
        evaluation: digest of the evaluation that the move rests on; None for a person's decision.
        reason: what a person gave as such.
        who: moved it, in words; None in those of older versions.
        previous: digest of what the move before it says; None of the first, and in those of older versions.
            So that none of them but the last can be changed unseen, signed or not.
        envelope: its statement, signed before the move was made; None where there was no key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    schema_version: int = 1
    version: int
    before: int | None
    evaluation: str | None
    reason: str | None = None
    who: str | None = None
    previous: str | None = Field(default=None, exclude_if=lambda digest: digest is None)
    moved_at: datetime
    envelope: dict[str, Any] | None = None

    @property
    def says(self) -> str:
        """A digest of all that it says, whoever signed it."""
        return sha256_of(canonical_json(self.model_dump(mode="json", exclude={"envelope"})))


def read_kept(store: ObjectStore, name: str, kind: type[Kept]) -> Kept:
    """One of them by its name in the store. Raises IntegrityError where it is gone, or is none any more."""
    try:
        data = read_there(store, name)
        read_json(data)  # what gives a name twice is read as one thing here and as another elsewhere
        return kind.model_validate_json(data)
    except ValueError as error:
        first = str(error).splitlines()[0]
        raise IntegrityError(
            f"{name} in {store.url} is no {kind.__name__.lower()} any more: {first}"
        ) from None


def read_each(
    named: Iterable[tuple[str, str]], read: Callable[[str, str], Kept], spoiled: Spoiled | None
) -> list[Kept]:
    """What is read of each, the first of a pair being its name in the store.

    Args: spoiled: is told of those that are none any more, which are left out then; None lets the
        IntegrityError of the first one through.
    """
    found = []
    for each in named:
        try:
            found.append(read(*each))
        except IntegrityError as error:
            if spoiled is None:
                raise
            spoiled(each[0], str(error))
    return found
