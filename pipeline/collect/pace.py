"""Keeping to so many requests and tokens a minute, at no moment more."""

from __future__ import annotations

import asyncio
import time

MINUTE = 60.0
# Of a limit, what is used: the rest is for requests that overtake each other on their way.
USED = 0.98
# Lost time, such as a pause of the machine, is made up for by at most so much.
CATCH_UP_SECONDS = 0.5


class Pace:
    """Slots on a time line: of requests, and of tokens.

    Within any minute there are at most floor(USED (60 + CATCH_UP_SECONDS) limit / 60) + 1 slots, which is never above
    the limit. It is the virtual scheduling of the generic cell rate algorithm (ITU-T I.371), one request at a time.
    """

    def __init__(self, requests_per_minute: float | None, tokens_per_minute: float | None) -> None:
        self._request_seconds = MINUTE / (USED * requests_per_minute) if requests_per_minute else 0.0
        self._token_seconds = MINUTE / (USED * tokens_per_minute) if tokens_per_minute else 0.0
        self._next_request = 0.0
        self._next_token = 0.0
        self._held_until = 0.0
        self._turn = asyncio.Lock()

    @property
    def _until(self) -> float:
        return max(self._next_request, self._next_token, self._held_until)

    async def slot(self, tokens: float) -> None:
        """Wait for a slot.

        Args:
            tokens: expected of the request, >= 0; see `correct`.
        """
        async with self._turn:
            while (wait := self._until - time.monotonic()) > 0:  # noqa: ASYNC110  # `hold` may move it meanwhile
                await asyncio.sleep(wait)
            oldest = time.monotonic() - CATCH_UP_SECONDS
            self._next_request = max(self._next_request, oldest) + self._request_seconds
            self._next_token = max(self._next_token, oldest) + tokens * self._token_seconds

    def correct(self, tokens: float) -> None:
        """Count tokens more (or, negative, fewer) than expected."""
        self._next_token += tokens * self._token_seconds

    def hold(self, seconds: float) -> None:
        """Give out no slot for some seconds, as the endpoint asked."""
        self._held_until = max(self._held_until, time.monotonic() + seconds)
