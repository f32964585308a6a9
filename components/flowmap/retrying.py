"""Asking a server again while it is away, and saying so; and for how long."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_fixed

from flowmap.errors import ConfigError, FlowmapError
from flowmap.progress import say
from flowmap.settings import environment

_PATIENCE_S = 600.0
_PAUSE_S = 5.0

T = TypeVar("T")


def patience_s() -> float:
    """How many seconds a store, the Kubernetes API server and Kubeflow are waited for when they are away.

    FLOWMAP_PATIENCE_S where it is set, as a profile's `patience_s` does for its steps; else ten minutes.

    Raises ConfigError when that is no number of seconds.
    """
    told = os.environ.get(environment.PATIENCE)
    try:
        seconds = _PATIENCE_S if told is None else float(told)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < float("inf"):
        raise ConfigError(f"{environment.PATIENCE}={told}: write a number of seconds, such as 600")
    return seconds


def ask_until_there(
    ask: Callable[[], T],
    passing: Callable[[BaseException], str | None],
    who: str,
    error_class: type[FlowmapError],
    patience_s: float,
) -> T:
    """What `ask` returns; it is called again while it raises what passes by itself.

    Args:
        passing: what an exception says about a server that is away; None for anything else, which is raised
            as it is.
        who: the server, for messages.
        error_class: raised when the server stays away for `patience_s` seconds.
    """

    def tell(state: RetryCallState) -> None:
        if state.attempt_number == 1:
            say(f"{who} {passing(_error_of(state))}; asking again")

    def give_up(state: RetryCallState) -> T:
        waited = f", for {patience_s:.0f} s now" if patience_s else ""
        raise error_class(f"{who} {passing(_error_of(state))}{waited}") from None

    retrying = Retrying(
        retry=retry_if_exception(lambda error: passing(error) is not None),
        stop=stop_after_delay(patience_s),
        wait=wait_fixed(_PAUSE_S),
        before_sleep=tell,
        retry_error_callback=give_up,
    )
    return retrying(ask)


def _error_of(state: RetryCallState) -> BaseException:
    assert state.outcome is not None
    error = state.outcome.exception()
    assert error is not None
    return error
