"""Deciding on the bodies of requests, without one keeping another waiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from features.errors import RequestError
from pipeline.limits import Needs
from pipeline.runtime.decider import Decider
from pipeline.runtime.decision import Decision
from pipeline.serve.apart import Apart, Unreadable
from pipeline.serve.bodies import parsed
from pipeline.serve.measures import Measures
from pipeline.serve.together import Together

# Up to here a decision takes less time than to hand it to a thread and back would add.
AT_ONCE_BYTES = 16_000
# Above it a body takes long to read, and most to read are made to; such ones wait for each other.
LARGE_BYTES = 256_000
THREADS = 2

Result = TypeVar("Result")


class Service:
    """What all ways in share.

    Args:
        decider: to ask.
        measures: to count in.
    """

    def __init__(self, decider: Decider, measures: Measures) -> None:
        self.decider, self.measures = decider, measures
        self._threads = ThreadPoolExecutor(THREADS, "tier-router bodies")
        self._large = ThreadPoolExecutor(1, "tier-router large bodies")
        self._apart = Apart()
        self._together = Together(self._decide_all)

    async def decide(
        self, payload: Mapping[str, Any], size: int, *, realtime: bool = False, record: bool = True
    ) -> Decision:
        """Decide on a payload, whose body had so many bytes; see `Decider.decide`."""
        if size <= AT_ONCE_BYTES:
            return await self._decide_soon(payload, realtime=realtime, record=record)
        return await self.elsewhere(size, lambda: self._decide(payload, realtime=realtime, record=record))

    async def route(self, body: bytes, *, realtime: bool = False) -> Decision:
        """Decide on a body.

        Raises:
            Refusal: it holds no JSON object.
        """
        if len(body) <= AT_ONCE_BYTES:
            return await self._decide_soon(parsed(body), realtime=realtime, record=True)
        if len(body) > LARGE_BYTES:
            needs = await self._apart.read(body)
            return await self.elsewhere(len(body), lambda: self._decide(needs, realtime=realtime, record=True))
        return await self.elsewhere(len(body), lambda: self._decide(parsed(body), realtime=realtime, record=True))

    async def elsewhere(self, size: int, work: Callable[[], Result]) -> Result:
        """Do the work here or, for so many bytes that it takes long, in a thread: one after the other for very many."""
        if size <= AT_ONCE_BYTES:
            return work()
        threads = self._large if size > LARGE_BYTES else self._threads
        return await asyncio.get_running_loop().run_in_executor(threads, work)

    def close(self) -> None:
        """End the threads, once they are idle."""
        self._threads.shutdown()
        self._large.shutdown()
        self._apart.close()

    async def _decide_soon(self, payload: Mapping[str, Any], *, realtime: bool, record: bool) -> Decision:
        first_token_s = self.decider.options.realtime_first_token_s if realtime else None
        try:
            needs = Needs.of(payload, first_token_s)
        except RequestError as error:
            return self._decide(Unreadable(error), realtime=realtime, record=record)
        decision = await self._together.decide(needs)
        if record:
            self.decider.record(decision)
        return decision

    def _decide_all(self, asked: Sequence[Needs]) -> list[Decision]:
        started = time.perf_counter()
        decisions = self.decider.decide_all(asked, record=False)
        seconds = (time.perf_counter() - started) / len(asked)
        for decision in decisions:
            self.measures.decided(decision, seconds)
        return decisions

    def _decide(self, payload: Mapping[str, Any] | Needs, *, realtime: bool, record: bool) -> Decision:
        started = time.perf_counter()
        decision = self.decider.decide(payload, realtime=realtime, record=record)
        self.measures.decided(decision, time.perf_counter() - started)
        return decision
