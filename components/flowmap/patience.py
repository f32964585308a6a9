"""Asking a server again while it is away, and saying so."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from flowmap.errors import FlowmapError
from flowmap.progress import say

PATIENCE_S = 600.0
_PAUSE_S = 5.0

T = TypeVar("T")


def patiently(
    ask: Callable[[], T],
    passing: Callable[[Exception], str | None],
    who: str,
    error_class: type[FlowmapError],
    patience_s: float = PATIENCE_S,
) -> T:
    """What `ask` returns; it is called again while it raises what passes by itself.

    Args:
        passing: what an exception says about a server that is away; None for anything else, which is raised as it is.
        who: the server, for messages.
        error_class: raised when the server stays away for `patience_s` seconds.
    """
    until, told = time.monotonic() + patience_s, False
    while True:
        try:
            return ask()
        except Exception as error:
            problem = passing(error)
            if problem is None:
                raise
            if time.monotonic() >= until:
                waited = f", for {patience_s:.0f} s now" if patience_s else ""
                raise error_class(f"{who} {problem}{waited}") from None
            if not told:
                say(f"{who} {problem}; asking again")
                told = True
            time.sleep(_PAUSE_S)
