"""What the documents say is shown by a test is shown by one that there is."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = [
    (document.name, name)
    for document in sorted((ROOT / "docs").glob("*.md"))
    for name in sorted(set(re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", document.read_text())))
]


@pytest.mark.parametrize(("document", "name"), NAMED, ids=lambda each: each)
def test_a_test_that_is_named_is_there(document: str, name: str) -> None:
    file, _, function = name.partition("::")
    text = (ROOT / file).read_text()
    assert not function or f"def {function}(" in text, f"{document} names {name}"


def test_security_names_a_test_for_every_credential() -> None:
    lines = (ROOT / "docs" / "security.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("| ") and not line.startswith(("| who", "| ---"))]
    assert len(rows) > 5
    assert all("`tests/" in row for row in rows)
