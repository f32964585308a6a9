"""What Kubeflow Pipelines' refusals mean, and what to do about them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from flowmap.errors import FlowmapError
from flowmap.settings import environment

T = TypeVar("T")


class KubeflowError(FlowmapError):
    """Kubeflow Pipelines can't be reached, refuses, or does not know what was asked for."""


class ConflictError(KubeflowError):
    """Something of that name is there already."""


def there_or_made(find: Callable[[], T | None], make: Callable[[], T]) -> T:
    """What is there, or is made now; somebody else may make it at the same moment."""
    found = find()
    if found is not None:
        return found
    try:
        return make()
    except ConflictError:
        found = find()
        if found is None:
            raise
        return found


def away(error: BaseException) -> str | None:
    """What an error says about a server that will be back."""
    from kfp_server_api import ApiException
    from urllib3.exceptions import HTTPError

    if isinstance(error, HTTPError):
        return f"can't be reached ({error})"
    if isinstance(error, ApiException) and error.status in (429, 502, 503, 504):
        return f"answers {error.status} {error.reason}"
    return None


def is_conflict(error: Any) -> bool:
    """Whether the name is taken; where it uploads, 2.17 says so in words too."""
    return error.status == 409 or "already exist" in _body(error)


def _body(error: Any) -> str:
    told = error.body
    return told.decode(errors="replace") if isinstance(told, bytes) else str(told or error.reason)


def refusal(error: Any) -> str:
    body = _body(error)
    try:
        said = json.loads(body).get("message", body)
    except (ValueError, AttributeError):
        said = body
    said = " ".join(str(said).split())[:500]
    if error.status in (401, 403):
        variable = environment.KUBEFLOW_TOKEN
        return f"refuses this account ({error.status}): put a valid token into {variable}; it says: {said}"
    if error.status == 404:
        return f"has nothing of that name (404): {said}"
    return f"answers {error.status}: {said}"
