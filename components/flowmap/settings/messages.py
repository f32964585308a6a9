"""pydantic's errors in one line each: the key, what is wrong, the value, and the nearest key where one
fits."""

from __future__ import annotations

import difflib
import types
from collections.abc import Callable
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

Place = tuple[str | int, ...]


def explain(
    error: ValidationError,
    model: type[BaseModel],
    whole: str,
    written_at: Callable[[Place], Place] = lambda at: at,
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
        written = _without_tags(model, entry["loc"])
        where = ".".join(map(str, written_at(written))) or whole
        lines[f"\n  {_line(dict(entry), model, where)}"] = None
    return "".join(lines)


def _line(error: dict[str, Any], model: type[BaseModel], where: str) -> str:
    if error["type"] == "extra_forbidden":
        known = list(_at(model, error["loc"][:-1]).model_fields)
        near = difflib.get_close_matches(str(error["loc"][-1]), known, n=1, cutoff=0.5)
        return f"{where}: unknown key; " + (
            f"did you mean `{near[0]}`?" if near else f"there is {', '.join(known)}"
        )
    if error["type"] == "missing":
        return f"{where}: missing; it is required"
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        tags = error.get("ctx", {}).get("expected_tags", "").replace("'", "")
        return (
            f"{where}: `kind` says which one it is"
            + (f": {tags}" if tags else "")
            + f" (got {error['input']!r})"
        )
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{where}: {message}"
    return f"{where}: {message[0].lower()}{message[1:]} (got {error['input']!r})"


def _without_tags(model: type[BaseModel], path: Place) -> Place:
    """A place as the user wrote it: where one of several models is meant, pydantic names its tag besides."""
    kind: Any = model
    written: list[str | int] = []
    for part in path:
        members = _members(kind)
        if part in members:
            kind = members[str(part)]
            continue
        written.append(part)
        kind = _below(kind, part)
    return tuple(written)


def _at(model: type[BaseModel], path: Place) -> type[BaseModel]:
    """The model that a path leads to, through optional values, dictionaries, tuples and tags."""
    kind: Any = model
    for part in path:
        kind = _members(kind).get(str(part)) or _below(kind, part)
    found: type[BaseModel] = _plain(kind)
    return found


def _below(kind: Any, part: str | int) -> Any:
    """The type of what lies at a key or an index."""
    kind = _plain(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = kind.model_fields.get(str(part))
        return None if field is None else field.annotation
    inside = [each for each in get_args(kind) if each is not ...]
    return inside[-1] if inside else None


def _members(kind: Any) -> dict[str, type[BaseModel]]:
    """Where a value is one of several models, told apart by `kind`: each by its tag."""
    models = [
        each for each in get_args(_bare(kind)) if isinstance(each, type) and issubclass(each, BaseModel)
    ]
    return {each.model_fields["kind"].default: each for each in models if "kind" in each.model_fields}


def _plain(kind: Any) -> Any:
    """The one alternative of an optional type that is not None."""
    kind = _bare(kind)
    if get_origin(kind) in (Union, types.UnionType):
        return next(each for each in get_args(kind) if each is not types.NoneType)
    return kind


def _bare(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind
