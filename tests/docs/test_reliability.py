"""What docs/reliability.md promises is shown by tests that there are."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_test_that_is_named_is_there() -> None:
    told = (ROOT / "docs" / "reliability.md").read_text()
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    named = set(re.findall(r"`(test_\w+)`", told))
    assert len(named) > 30
    assert not named - there
    for path in re.findall(r"`(tests/[\w/.]+)`", told):
        assert (ROOT / path).is_file(), path


def test_every_row_names_one() -> None:
    rows = re.findall(
        r"^\| (?!---|what )(.*) \|$", (ROOT / "docs" / "reliability.md").read_text(), re.MULTILINE
    )
    assert len(rows) > 30
    assert all("`test" in row.rsplit("|", 1)[-1] for row in rows)
