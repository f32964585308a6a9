"""What a step asks to be trained, and what each process that trains it gets. Neither says where that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flowmap.artifacts.checkpoints import Checkpoints
from flowmap.settings import Section
from flowmap.training.events import EventFiles


@dataclass(frozen=True)
class Training:
    """What a step asks to be trained in processes of its own.

    Attributes:
        worker: a module with a function `train(work: Work)`.
        section: the settings it goes by.
        name: tells several of one step apart.
        num_processes: how many train together.
    """

    worker: str
    section: Section
    name: str = ""
    num_processes: int = 1


@dataclass(frozen=True)
class Work:
    """What one training process gets.

    Attributes:
        section: the settings as JSON, for `model_validate_json` of their class.
        name: of the training among those of its step.
        inputs: a verified local copy of each input artifact, by name.
        out: where the results go.
        scratch: for anything that need not survive; all processes of a node see it.
        checkpoints: where an interrupted training left off.
        events: where curves are shown; for one process of all.
        stop: a file that is made when training is to save and end before it is done.
    """

    section: str
    name: str
    inputs: Mapping[str, Path]
    out: Path
    scratch: Path
    checkpoints: Checkpoints
    events: EventFiles
    stop: Path

    def is_to_stop(self) -> bool:
        """Whether it is to save and end now; for the first process of all to ask."""
        return self.stop.exists()
