"""YAML is read as people write it, and what is written is read back."""

from pathlib import Path

import pytest

from flowmap.errors import ConfigError
from flowmap.settings import load_config
from flowmap.settings.yaml_text import YamlTextError, read_yaml, write_value, write_yaml
from tests.faults import fault


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10),
        ("1e-4", 1e-4),
        ("no", "no"),
        ("1:30", "1:30"),
        ("true", True),
        ("null", None),
        ("1_000", 1000),
    ],
)
def test_values_are_what_people_mean(text: str, value: object) -> None:
    assert read_yaml(f"a: {text}") == {"a": value}


# Ten lines, of which each stands for nine of the one before.
BOMB = "a0: &a0 [x]\n" + "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(10))


@fault(
    "a configuration gives a key twice, is nested too deep, of millions of values by aliases, or asks for a "
    "Python object",
    "refused, with the line where there is one",
    of="writing",
)
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb: 2\na: 3", "`a` is given twice, in line 1 and in line 3"),
        ("x:\n  b: 1\ny: 2\nx:\n  c: 3", "`x` is given twice, in line 1 and in line 4"),
        ("x:\n  b: 1\n  b: 2", "`x.b` is given twice, in line 2 and in line 3"),
        ("l:\n- {a: 1, a: 2}", "`l.a` is given twice, in line 2 and in line 2"),
        ("a: [1,\n", "not YAML in line 2"),
        ("a: !!python/object:os.system x", "not YAML in line 1: could not determine a constructor"),
        ("[" * 5000, "nested too deep"),
        (BOMB, "it comes to more than 100,000 values, counting what aliases stand for"),
        ("a" * (10 << 20) + "a", "10,485,761 letters, and 10,485,760 are the most that are read"),
    ],
)
def test_a_mistake_is_told_with_its_lines(text: str, told: str) -> None:
    with pytest.raises(YamlTextError, match=told.replace("[", r"\[")):
        read_yaml(text)


@pytest.mark.parametrize(
    "value",
    [
        "pets #2",
        "2024",
        "010",
        "no",
        "null",
        "a: b",
        "- a",
        "@x",
        "{x}",
        "",
        " x ",
        "it's",
        'a"b',
        "ü",
        "a\nb",
    ],
)
def test_what_is_written_is_read_back(value: str) -> None:
    assert read_yaml(f"key: {write_value(value)}") == {"key": value}
    assert read_yaml(write_yaml({"key": [value, {value: value}]})) == {"key": [value, {value: value}]}


def test_a_path_after_set_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("name: a\ndata_prep: {preferences: null}\n")
    for source in ("/data/pets #2", "2024", "no", "/a: b"):
        assert load_config(path, [f"data_prep.source={source}"]).data_prep.source == source
    config = load_config(path, ["data_prep.preferences=null", "base_training.seed=010"])
    assert (config.data_prep.preferences, config.base_training.seed) == (None, 10)


def test_a_section_given_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("name: a\nevaluation: {judge_updates: 1}\nevaluation: {resamples: 90}\n")
    with pytest.raises(ConfigError, match=r"a\.yaml: `evaluation` is given twice, in line 2 and in line 3"):
        load_config(path)
