"""JSON of others: what is none is told, however it is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from flowmap.json_text import read_json
from tests.faults import fault


@fault(
    "JSON of a store, a server or a checkpoint is none, nested a hundred thousand deep, or gives "
    "a name twice",
    "it is told, with where",
    of="writing",
)
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "Expecting property name"),
        ("[" * 100_000, "nested too deep"),
        ('{"a":' * 100_000, "nested too deep"),
        ('{"a": {"b": 1, "b": 2}}', "it gives 'b' twice"),
        (b"\xff\xfe\x00", "codec can't decode"),
        ("", "Expecting value"),
    ],
)
def test_what_is_none_is_told(text: str | bytes, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        read_json(text)


@given(some.binary(max_size=60) | some.text(some.sampled_from('{}[]":,0eE+-.tfn\\u '), max_size=60))
def test_any_bytes_are_json_or_a_value_error(text: str | bytes) -> None:
    try:
        read_json(text)
    except ValueError:
        return


def test_what_is_json_is_read() -> None:
    assert read_json(b'{"a": [1, null, "x"]}') == {"a": [1, None, "x"]}
