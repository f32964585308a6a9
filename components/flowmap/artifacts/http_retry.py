"""urllib3's retries for as long as somebody is patient, not a number of times.

A try may fail at once, or take a minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Self

import urllib3

_PASSING = (500, 502, 503, 504)  # answers of a store that will be back
_LONGEST_PAUSE_S = 5.0
_SILENT_S = 5.0


class RetryFor(urllib3.Retry):
    """Repeats a request that fails for a reason that may pass, with growing, jittered pauses.

    Args:
        patience_s: seconds after the first failure in which it is repeated.
        tell: told once for each request that fails for longer than some seconds: what failed.
    """

    def __init__(
        self,
        *,
        patience_s: float,
        tell: Callable[[str], None] = lambda _: None,
        **inherited: Any,
    ) -> None:
        first = {
            "total": None,
            "connect": None,
            "read": None,
            "redirect": 0,
            "backoff_factor": 0.2,
            "backoff_max": _LONGEST_PAUSE_S,
            "backoff_jitter": 0.3,
            "status_forcelist": _PASSING,
            "allowed_methods": None,
            "raise_on_status": False,
            "respect_retry_after_header": False,
        }
        super().__init__(**{**first, **inherited})
        self._patience_s, self._tell = patience_s, tell
        self._since_s: float | None = None
        self._told = False

    def new(self, **changes: Any) -> Self:
        made = super().new(
            patience_s=self._patience_s,
            tell=self._tell,
            **changes,
        )
        made._since_s = time.monotonic() if self._since_s is None else self._since_s
        made._told = self._told
        return made

    def increment(self, *arguments: Any, **named: Any) -> Self:
        """After a failure: raises urllib3's MaxRetryError when patience has come to its end.

        A certificate that is not trusted does not become so by waiting.
        """
        untrusted = isinstance(named.get("error"), urllib3.exceptions.SSLError)
        after = (self.new(total=0) if untrusted else self)._increment(*arguments, **named)
        if not after._told and after._waited_s() > _SILENT_S:
            after._told = True
            last = after.history[-1]
            self._tell(str(last.error or f"answers {last.status}"))
        return after

    def _increment(self, *arguments: Any, **named: Any) -> Self:
        return super().increment(*arguments, **named)

    def is_exhausted(self) -> bool:
        return super().is_exhausted() or self._waited_s() > self._patience_s

    def _waited_s(self) -> float:
        return 0.0 if self._since_s is None else time.monotonic() - self._since_s
