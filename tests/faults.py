"""What goes wrong, and what happens then: said where it is shown, and gathered into docs/reliability.md.

@fault("a disk is full", "nobody", "", "the message names it and what was said", of="processes")
def test_a_run_on_a_full_disk_ends_with_one_message() -> None: ...

@fault("a disk is full", of="processes")         # shown by this test too
python -m pytest -m fault                        # all that need no cluster
make faults                                      # writes the tables anew
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "reliability.md"

# The columns of each table: `what` first, then what a test says behind it, and the tests last.
COLUMNS = {
    "servers": ("waited for by", "how long", "then"),
    "processes": ("retried by", "how often", "who is told"),
    "ends": ("who is told",),
    "writing": ("then",),
    "rivals": ("then",),
}


def fault(what: str, *told: str, of: str) -> pytest.MarkDecorator:
    """Say of a test which fault it shows.

    Args:
        told: the table's columns; none where another test says them.
        of: the table.
    """
    assert len(told) in (0, len(COLUMNS[of])), f"{of} has the columns {COLUMNS[of]}"
    return pytest.mark.fault


@dataclass
class Row:
    """A fault, what is told of it, and the tests that show it."""

    of: str
    what: str
    told: tuple[str, ...] = ()
    tests: list[str] = field(default_factory=list)


def rows() -> list[Row]:
    """Every fault, in the order of the files that show it.

    Raises ValueError where none of its tests, or more than one, says what happens.
    """
    found: dict[tuple[str, str], Row] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for name, call in _marked(ast.parse(path.read_bytes())):
            what, *told = (ast.literal_eval(argument) for argument in call.args)
            of = ast.literal_eval(call.keywords[0].value)
            row = found.setdefault((of, what), Row(of, what))
            if told and row.told:
                raise ValueError(f"{name}: what happens where {what} is said by {row.tests} already")
            row.told = tuple(told) or row.told
            row.tests.append(name)
    if silent := [row.what for row in found.values() if not row.told]:
        raise ValueError(f"no test says what happens where {'; '.join(silent)}")
    return list(found.values())


def _marked(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            for mark in node.decorator_list:
                if (
                    isinstance(mark, ast.Call)
                    and isinstance(mark.func, ast.Name)
                    and mark.func.id == "fault"
                ):
                    yield node.name, mark


def written(page: str) -> str:
    """The page with its tables as the tests have them."""
    all_ = rows()

    def table(match: re.Match[str]) -> str:
        of = match[2]
        columns = ("what", *COLUMNS[of], "test")
        lines = [columns, ("---",) * len(columns)]
        for row in all_:
            if row.of == of:
                lines.append((row.what, *row.told, ", ".join(f"`{name}`" for name in row.tests)))
        told = "\n".join("| " + " | ".join(line).replace("|  |", "| |") + " |" for line in lines)
        return f"{match[1]}\n\n{told}\n"

    return re.sub(r"(<!-- (\w+): made by `make faults` -->)\n\n(?:\|.*\n)*", table, page)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
    print(f"{len(rows())} faults in {PAGE.relative_to(TESTS.parent)}", file=sys.stderr)
