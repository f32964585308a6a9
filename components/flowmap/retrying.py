"""Asking a server again while it is away, and saying so."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_fixed

from flowmap.errors import FlowmapError
from flowmap.progress import say

PATIENCE_S = 600.0
_PAUSE_S = 5.0

T = TypeVar("T")


def ask_until_there(
    ask: Callable[[], T],
    passing: Callable[[BaseException], str | None],
    who: str,
    error_class: type[FlowmapError],
    patience_s: float = PATIENCE_S,
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
