"""What an audit finds."""

from __future__ import annotations

from dataclasses import dataclass, field, fields


@dataclass(frozen=True)
class Fault:
    """Something that is not as it should be: the object's name in the store, and what is wrong with it."""

    name: str
    told: str


@dataclass
class Audit:
    """What was looked at, and what was wrong.

    Attributes:
        notes: what is unusual and no fault.
    """

    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    num_artifacts: int = 0
    num_files: int = 0
    num_bytes: int = 0
    num_records: int = 0
    num_versions: int = 0
    num_moves: int = 0
    num_statements: int = 0

    def take(self, other: Audit) -> None:
        """What was found of a part, too."""
        for fault in other.faults:
            self.add(fault.name, fault.told)
        self.notes += [note for note in other.notes if note not in self.notes]
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def add(self, name: str, told: str) -> None:
        """Once, however many ways lead there."""
        if (fault := Fault(name, told)) not in self.faults:
            self.faults.append(fault)


_COUNTS = [each.name for each in fields(Audit) if each.name.startswith("num_")]
