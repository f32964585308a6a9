"""What a step's own function gets to work with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from flowmap.artifacts.checkpoints import Checkpoints
from flowmap.artifacts.manifest import Manifest
from flowmap.artifacts.store import ObjectStore
from flowmap.settings import Section
from flowmap.training.work import Training

S = TypeVar("S", bound=Section, covariant=True)


@dataclass(frozen=True)
class Context(Generic[S]):
    """What a step's own function gets.

    Attributes:
        section: the step's own settings; it knows no others.
        inputs: a verified local copy of each input artifact, by name.
        manifests: the manifest of each input.
        told: what else decides the result and is no artifact, by name: a digest, or a number.
        made_by: a digest of the step's code and of the libraries that compute its result.
        out: an empty directory; what lies there at the end is the step's artifact.
        checkpoints: where an interrupted run of this very step left off.
        store: for steps whose work is in the store, such as the registry's.
        scratch: a directory for anything that need not survive.
        expectations: what the step has checked of its data goes here, for its record.
        train: runs trainings side by side, wherever the profile says; the first that fails ends the others.
    """

    section: S
    inputs: Mapping[str, Path]
    manifests: Mapping[str, Manifest]
    told: Mapping[str, str]
    made_by: str
    out: Path
    checkpoints: Checkpoints
    store: ObjectStore
    scratch: Path
    train: Callable[[Sequence[Training]], None]
    expectations: list[dict[str, Any]] = field(default_factory=list)
