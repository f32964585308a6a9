"""What a step is, so that whoever runs, plans, compiles or draws the pipeline reads the same definition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flowmap.artifacts.manifest import Manifest
from flowmap.artifacts.store import ObjectStore
from flowmap.settings import RunConfig, Section


@dataclass(frozen=True)
class Input:
    """Something that decides a step's result, by its digest.

    Attributes:
        digest: or what it is, where it is as short as a number.
        manifest, prefix: of an artifact in the store, which the step gets a copy of; None for what it reads
            elsewhere.
        spare: where the same files lie too, should one be damaged at `prefix`.
    """

    digest: str
    manifest: Manifest | None = None
    prefix: str | None = None
    spare: str | None = None


Inputs = Mapping[str, Input]


def _own_section(step: Step, config: RunConfig) -> Section:
    section: Section = getattr(config, step.name)
    return section


def _nothing(config: RunConfig, store: ObjectStore, inputs: Inputs) -> Inputs:
    return {}


def _nothing_to_look_at(config: RunConfig, scratch: Path) -> None:
    pass


def _nothing_to_check(config: RunConfig, store: ObjectStore, made: Manifest) -> None:
    pass


def _no_modules(config: RunConfig) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class Step:
    """One step of the pipeline; its code is `flowmap.<name>.step.<function>`.

    Attributes:
        name: also its folder's, and its section's in the configuration.
        output: what others call its artifact.
        reads: the steps whose artifacts it gets, under the names that they give them.
        without: how paths begin, in what it reads, of files that it needs none of and does not fetch.
        function: of its module.
        task: what Kubeflow calls it; its name unless it says otherwise.
        says: what it does, in a few words for pictures.
        when: the gate's verdict that it waits for; None for a step that always runs.
        reuse: False where its effect is outside its artifact.
        section_of: its settings; its own section unless it says otherwise.
        extra_inputs: what else decides its result: data outside the store, the incumbent.
        look: looks at what the run will need later, before its work begins; raises what would end the run.
        check: looks at its result, made now or found, before any other step works with it; raises what would
            end the run later.
        modules: of this package, that it imports by name only: the kinds of rewards that the settings ask
            for, and facets of the modality.
        libraries, more_libraries: those that compute its result, by the names they are installed under;
            the latter with some settings only.
    """

    name: str
    output: str
    reads: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    function: str = "run"
    task: str = ""
    says: str = ""
    when: str | None = None
    reuse: bool = True
    section_of: Callable[[Step, RunConfig], Section] = _own_section
    extra_inputs: Callable[[RunConfig, ObjectStore, Inputs], Inputs] = _nothing
    look: Callable[[RunConfig, Path], None] = _nothing_to_look_at
    check: Callable[[RunConfig, ObjectStore, Manifest], None] = _nothing_to_check
    modules: Callable[[RunConfig], tuple[str, ...]] = _no_modules
    libraries: tuple[str, ...] = ()
    more_libraries: Callable[[RunConfig], tuple[str, ...]] = _no_modules

    def __post_init__(self) -> None:
        if not self.task:
            object.__setattr__(self, "task", self.name)

    def section(self, config: RunConfig) -> Section:
        """The settings that it goes by, and that decide its digest."""
        return self.section_of(self, config)
