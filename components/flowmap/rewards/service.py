"""A service that is asked over HTTP, and asked again with growing pauses while it is away."""

from __future__ import annotations

from collections.abc import Mapping

import urllib3
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from flowmap.errors import RewardError

_LONGEST_PAUSE_S = 30.0


class _AwayError(Exception):
    """The service can't be reached just now, or says that it will be back."""


class Service:
    """Answers of one URL.

    Args:
        name: of the reward that asks, for messages.
        url: where to POST.
        concurrency: requests at once.
        timeout_s: of one request; tries: of one request.
        first_pause_s: before the second try; each further pause is twice as long, up to half a minute.
        headers: of every request, beside what says that it is JSON.
    """

    def __init__(
        self,
        name: str,
        url: str,
        *,
        concurrency: int,
        timeout_s: float,
        tries: int,
        first_pause_s: float = 0.5,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.url, self.tries, self.first_pause_s = name, url, tries, first_pause_s
        self.headers = {"Content-Type": "application/json", **(headers or {})}
        self._http = urllib3.PoolManager(maxsize=concurrency, timeout=timeout_s, retries=False)

    def post(self, body: bytes) -> bytes:
        """The answer to a body of JSON. Raises RewardError when it stays away, or refuses the request."""
        retrying = Retrying(
            retry=retry_if_exception_type(_AwayError),
            stop=stop_after_attempt(self.tries),
            wait=wait_exponential_jitter(
                multiplier=self.first_pause_s, max=_LONGEST_PAUSE_S, jitter=self.first_pause_s
            ),
            reraise=True,
        )
        try:
            return retrying(self._post, body)
        except _AwayError as error:
            raise RewardError(f"reward {self.name}: {self.url} {error}, {self.tries} times") from None

    def _post(self, body: bytes) -> bytes:
        try:
            answer = self._http.request("POST", self.url, body=body, headers=self.headers)
        except urllib3.exceptions.HTTPError as error:
            raise _AwayError(f"can't be reached ({error})") from None
        if answer.status >= 500 or answer.status == 429:
            raise _AwayError(f"answered {answer.status}")
        if answer.status != 200:
            told = answer.data[:200].decode(errors="replace")
            raise RewardError(f"reward {self.name}: {self.url} answered {answer.status}: {told}")
        return answer.data
