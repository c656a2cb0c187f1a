"""Requests that are there at the same time, decided on together: one run of the router for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from pipeline.limits import Needs
from pipeline.runtime.decision import Decision

# More would keep those who come next waiting, and gain little.
MOST = 16

Decide = Callable[[Sequence[Needs]], Sequence[Decision]]


class Together:
    """Waits for one turn of the loop, in which whoever else has sent a request joins in; alone, that costs nothing.

    Args:
        decide: gives the decisions, in the order of the requests.
    """

    def __init__(self, decide: Decide) -> None:
        self._decide = decide
        self._waiting: list[tuple[Needs, asyncio.Future[Decision]]] = []

    async def decide(self, needs: Needs) -> Decision:
        """Decide on a request."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._turn, loop)
        decided: asyncio.Future[Decision] = loop.create_future()
        self._waiting.append((needs, decided))
        return await decided

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        taken, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        if self._waiting:
            loop.call_soon(self._turn, loop)
        try:
            for (_, decided), decision in zip(taken, self._decide([needs for needs, _ in taken]), strict=True):
                if not decided.cancelled():
                    decided.set_result(decision)
        finally:  # whatever happens, nobody waits for ever
            for _, decided in taken:
                decided.cancel()
