"""YAML as people write it: `010` is ten, `no` is a word, `1e-4` a number, as YAML 1.2 has it.

A key given twice is a mistake, told with both lines: of two sections of one name, the first would be lost
without a word.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode
from ruamel.yaml.representer import SafeRepresenter

_LINE_BREAKS = set("\x85\u2028\u2029\ufeff")
_WIDTH = 4096  # no line is broken
_MOST_LETTERS = 10 << 20
_MOST_VALUES = 100_000  # aliases, each of which stands for several others, come to billions in ten lines


class YamlTextError(ValueError):
    """A text is not YAML, or gives a key twice; the message says in which line."""


def read_yaml(text: str) -> Any:
    """What a text says, as dictionaries, lists and plain values. Raises YamlTextError."""
    if len(text) > _MOST_LETTERS:
        raise YamlTextError(f"{len(text):,} letters, and {_MOST_LETTERS:,} are the most that are read")
    parser = YAML(typ="safe", pure=True)
    try:
        node = parser.compose(text)
        _refuse_doubles(node, [], iter(range(_MOST_VALUES)))
        return parser.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise YamlTextError(f"not YAML{where}: {error.problem or error.context}") from None
    except (YAMLError, ValueError) as error:
        if isinstance(error, YamlTextError):
            raise
        raise YamlTextError(f"not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise YamlTextError("not YAML: it is nested too deep") from None


def write_yaml(value: Any) -> str:
    """A value as YAML that `read_yaml` reads back as it was."""
    emitter = _emitter()
    emitter.default_flow_style = False
    emitter.width = _WIDTH
    # Keys stay in their order; the library's own stub types its default, None, alone.
    emitter.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    told = io.StringIO()
    emitter.dump(value, told)
    return told.getvalue()


def write_value(value: Any) -> str:
    """A value on one line, as it stands behind a key."""
    emitter = _emitter()
    emitter.default_flow_style = True
    emitter.width = _WIDTH
    told = io.StringIO()
    emitter.dump([value], told)
    return told.getvalue().strip()[1:-1]


class _Representer(SafeRepresenter):
    """Texts with line breaks that only Unicode knows are escaped: written as they are, they are read as a
    space."""


def _represent(representer: _Representer, text: str) -> ScalarNode:
    style = '"' if set(text) & _LINE_BREAKS else None
    node: ScalarNode = representer.represent_scalar("tag:yaml.org,2002:str", text, style=style)
    return node


_Representer.add_representer(str, _represent)


def _emitter() -> YAML:
    emitter = YAML(typ="safe", pure=True)
    emitter.Representer = _Representer
    return emitter


def _refuse_doubles(node: Node | None, at: list[str], left: Iterator[int]) -> None:
    """Args: left: of the values that may be looked at."""
    if next(left, None) is None:
        raise YamlTextError(
            f"it comes to more than {_MOST_VALUES:,} values, counting what aliases stand for"
        )
    if isinstance(node, MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            name = str(key.value) if isinstance(key, ScalarNode) else repr(key.value)
            line = key.start_mark.line + 1
            if name in lines:
                where = ".".join([*at, name])
                raise YamlTextError(f"`{where}` is given twice, in line {lines[name]} and in line {line}")
            lines[name] = line
            _refuse_doubles(value, [*at, name], left)
    elif node is not None and isinstance(node.value, list):
        for child in node.value:
            _refuse_doubles(child, at, left)
