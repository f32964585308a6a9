"""What docs/reliability.md promises is what tests say that they show."""

from tests.faults import COLUMNS, PAGE, rows, written


def test_the_tables_are_what_the_tests_say() -> None:
    page = PAGE.read_text()
    assert written(page) == page, "make faults writes them anew"


def test_there_are_many_kinds_and_each_is_in_a_table() -> None:
    told = PAGE.read_text()
    found = rows()
    assert len(found) >= 66
    assert {row.of for row in found} == set(COLUMNS)
    assert all(f"| {row.what} |" in told for row in found)
    assert all(f"`{name}`" in told for row in found for name in row.tests)
