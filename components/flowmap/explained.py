"""pydantic's errors in one line each: the key, what is wrong, the value, and the nearest key where one fits."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Callable
from typing import Any, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ValidationError


def written_as(pattern: str, told: str) -> AfterValidator:
    """For `Annotated[str, ...]`: a string of that pattern, whole; `told` says to people what is expected."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if compiled.fullmatch(value) is None:
            raise ValueError(f"{told} (got {value!r})")
        return value

    return AfterValidator(check)


Place = tuple[str | int, ...]


def explain(
    error: ValidationError, model: type[BaseModel], whole: str, written_at: Callable[[Place], Place] = lambda at: at
) -> str:
    """All mistakes, each on a line of its own and indented.

    Args:
        error: what pydantic said of `model`.
        model: what was validated.
        whole: the name of the whole, for mistakes that are no key's.
        written_at: where the user wrote what came to lie at a place of the model.
    """
    lines: dict[str, None] = {}
    for entry in error.errors():
        where = ".".join(map(str, written_at(entry["loc"]))) or whole
        lines[f"\n  {_line(dict(entry), model, where)}"] = None
    return "".join(lines)


def _line(error: dict[str, Any], model: type[BaseModel], where: str) -> str:
    if error["type"] == "extra_forbidden":
        known = list(_at(model, error["loc"][:-1]).model_fields)
        near = difflib.get_close_matches(str(error["loc"][-1]), known, n=1, cutoff=0.5)
        return f"{where}: unknown key; " + (f"did you mean `{near[0]}`?" if near else f"there is {', '.join(known)}")
    if error["type"] == "missing":
        return f"{where}: missing; it is required"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{where}: {message}"
    return f"{where}: {message[0].lower()}{message[1:]} (got {error['input']!r})"


def _at(model: type[BaseModel], path: Place) -> type[BaseModel]:
    """The model that the keys of a path lead to, through optional values, dictionaries and tuples."""
    kind: Any = model
    for part in path:
        kind = _plain(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = kind.model_fields[str(part)].annotation
        else:
            kind = [each for each in get_args(kind) if each is not ...][-1]
    found: type[BaseModel] = _plain(kind)
    return found


def _plain(kind: Any) -> Any:
    """The one alternative of an optional type that is not None."""
    if get_origin(kind) in (Union, types.UnionType):
        return next(each for each in get_args(kind) if each is not types.NoneType)
    return kind
