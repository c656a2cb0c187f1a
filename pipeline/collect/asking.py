"""Asking: every pending request, at every tier that has not answered it, within the limits and the budget."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import stamina

from features.errors import EndpointError, StorageError
from pipeline.collect import outcomes
from pipeline.collect.board import Board
from pipeline.collect.budget import Budget
from pipeline.collect.failures import CallError
from pipeline.collect.journal import Journal
from pipeline.collect.lines import Line
from pipeline.collect.outcomes import NOT_SENT
from pipeline.collect.protocol import Reply

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS, JITTER_SECONDS = 1.0, 60.0, 1.0
# An endpoint that asks for more than this is not worth waiting for: the same command goes on later.
LONGEST_RETRY_AFTER_SECONDS = 600.0
# So many requests given up in a row, with no answer in between, and the tier is taken to be down.
GIVEN_UP_IN_A_ROW = 10
OUT_OF_BUDGET = "the budget is used up"
DISK_FULL = "the disk is full"
INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Ask:
    """One thing to ask of one tier.

    Attributes:
        digest: of what is asked.
        tier: to ask.
        asked: fields of the request.
        most_input: input tokens that it cannot exceed.
        worst_usd: the most that one try can cost.
        attempts: made before.
    """

    digest: str
    tier: str
    asked: Mapping[str, Any]
    most_input: int
    worst_usd: float
    attempts: int


@dataclass(slots=True)
class _Tries:
    """Of one ask: attempts made so far, and whether its worst case is reserved."""

    made: int
    reserved: bool = True


class Asking:
    """Calls to some tiers under one budget, each written down before and after."""

    def __init__(self, journal: Journal, lines: Mapping[str, Line], budget: Budget, board: Board) -> None:
        self._journal = journal
        self._lines = lines
        self._budget = budget
        self._board = board
        # Those that have sent nothing, or wait to try again: they are not waited for when it ends.
        self._idle: set[asyncio.Task[Any]] = set()
        self._no_more_tries = False
        self._error: EndpointError | StorageError | None = None

    async def everything(self, asks: Iterable[list[Ask]]) -> None:
        """Ask all of it, as far as it goes. What belongs together is begun together or not at all.

        Raises:
            EndpointError: no call of a tier can succeed.
            StorageError: the journal cannot be written.
        """
        # By itself it logs a line for every retry; the board counts them.
        stamina.instrumentation.set_on_retry_hooks(())
        # So many may be begun: the slower tier does not fall behind without bound.
        window = asyncio.Semaphore(2 * sum(line.way.endpoint.concurrency for line in self._lines.values()))
        async with asyncio.TaskGroup() as group:
            for together in asks:
                for _ in together:
                    await window.acquire()
                if self._board.ending or not await self.reserve(together):
                    break
                for ask in together:
                    group.create_task(self.one(ask)).add_done_callback(lambda _: window.release())
        if self._error:
            raise self._error

    async def reserve(self, together: list[Ask]) -> bool:
        """Reserve the most that a try of each can cost; where there is no room for it, end."""
        if not await self._budget.reserve(sum(ask.worst_usd for ask in together), len(together)):
            self.end(OUT_OF_BUDGET)
            return False
        if self._board.ending:
            for ask in together:
                await self._budget.settle(ask.worst_usd, 0.0)
        return not self._board.ending

    def end(self, reason: str) -> None:
        """Begin nothing more. Calls in flight are waited for; without a budget, tries that are due too."""
        self._board.ending = self._board.ending or reason
        if reason != OUT_OF_BUDGET:
            self._no_more_tries = True
            for task in self._idle - {asyncio.current_task()}:
                task.cancel()

    async def one(self, ask: Ask) -> Reply | None:
        """Ask until there is an answer or no further try is worth it. Its worst case has to be reserved.

        Returns:
            The answer, or None where the request was given up.
        """
        line, tries = self._lines[ask.tier], _Tries(ask.attempts)
        task = asyncio.current_task()
        assert task
        self._idle.add(task)
        try:
            reply = await self._tried(ask, line, tries)
        except CallError as failure:
            self._give_up(ask.tier, line, failure)
            return None
        except StorageError as error:
            self._error = self._error or error
            self.end("the journal cannot be written")
            return None
        finally:
            self._idle.discard(task)
            if tries.reserved:
                await self._budget.settle(ask.worst_usd, 0.0)
        line.in_a_row = 0
        return reply

    async def _tried(self, ask: Ask, line: Line, tries: _Tries) -> Reply:
        retries = stamina.retry_context(
            on=lambda error: self._again(error, line),
            attempts=line.way.endpoint.tries,
            timeout=None,
            wait_initial=FIRST_WAIT_SECONDS,
            wait_max=LONGEST_WAIT_SECONDS,
            wait_jitter=JITTER_SECONDS,
        )
        async for attempt in retries:
            with attempt:
                if attempt.num > 1:
                    await self._once_more(ask, line, tries)
                async with line.room:
                    return await self._call(ask, line, tries)
        raise AssertionError("retries end with an answer or a failure")

    def _again(self, error: Exception, line: Line) -> bool | float:
        """Whether to try again, and after how many seconds if the endpoint said so."""
        if not isinstance(error, CallError) or not error.again or self._no_more_tries:
            return False
        if error.wait_s is None:
            return True
        if error.wait_s > LONGEST_RETRY_AFTER_SECONDS:
            self.end(f"an endpoint asks to wait for {error.wait_s:,.0f} seconds (Retry-After)")
            return False
        line.pace.hold(error.wait_s)
        return error.wait_s

    async def _once_more(self, ask: Ask, line: Line, tries: _Tries) -> None:
        line.score.retried += 1
        if tries.reserved:
            return
        if not await self._budget.reserve(ask.worst_usd, 1):
            self.end(OUT_OF_BUDGET)
            raise CallError("no budget for another try", paid=False, again=False)
        tries.reserved = True

    async def _call(self, ask: Ask, line: Line, tries: _Tries) -> Reply:
        """One try, written down before and after."""
        tries.made += 1
        expected = line.mean_tokens or ask.most_input + line.way.endpoint.output_limit
        try:
            await self._journal.asking(ask.digest, ask.tier, tries.made, ask.worst_usd)
            await line.pace.slot(expected)
        except asyncio.CancelledError:
            await self._journal.settle(ask.digest, ask.tier, tries.made, NOT_SENT)
            raise
        with self._in_flight(line):
            try:
                began = datetime.now(UTC)
                reply, seconds = await line.client.ask(ask.asked, ask.most_input)
            except CallError as failure:
                await self._failed(ask, line, tries, failure)
                raise
            cost = line.way.fare.usd(reply.used, began, datetime.now(UTC)) if reply.used else None
            await self._settle(ask, line, tries, outcomes.answered(reply, seconds, cost, ask.worst_usd))
        self._count(line, reply, expected)
        return reply

    @contextmanager
    def _in_flight(self, line: Line) -> Iterator[None]:
        task = asyncio.current_task()
        assert task
        self._idle.discard(task)
        line.score.in_flight += 1
        try:
            yield
        finally:
            line.score.in_flight -= 1
            self._idle.add(task)

    async def _failed(self, ask: Ask, line: Line, tries: _Tries, failure: CallError) -> None:
        line.score.causes[failure.cause] += 1
        line.score.latest = failure.cause
        line.score.examples.setdefault(failure.cause, failure.detail)
        await self._settle(ask, line, tries, outcomes.failed(failure, ask.worst_usd))

    async def _settle(self, ask: Ask, line: Line, tries: _Tries, outcome: outcomes.Outcome) -> None:
        """Write down what came of a try; what was not paid for leaves its reservation to the next one."""
        await self._journal.settle(ask.digest, ask.tier, tries.made, outcome)
        if outcome["paid"]:
            tries.reserved = False
            await self._budget.settle(ask.worst_usd, outcome["charged_usd"])
            line.score.spent_usd += outcome["charged_usd"]
            if outcome.get("cost_usd") is None:
                self._board.unsure_usd += outcome["charged_usd"]
        if self._journal.writer.cramped:
            self.end(DISK_FULL)

    def _count(self, line: Line, reply: Reply, expected: float) -> None:
        line.score.answered(reply.model)
        if reply.used:
            line.learn(reply.used.input_tokens + reply.used.output_tokens, expected)
        else:
            line.score.doubts[reply.doubt] += 1

    def _give_up(self, tier: str, line: Line, failure: CallError) -> None:
        line.score.failed += 1
        line.score.gave_up[failure.cause] += 1
        line.in_a_row += 1
        if failure.fatal:
            self._error = self._error or EndpointError(f"{tier}: {failure.fatal} ({failure})")
            self.end(f"{tier}: {failure.fatal}")
        elif line.in_a_row == GIVEN_UP_IN_A_ROW:
            self.end(f"{tier}: {GIVEN_UP_IN_A_ROW} requests in a row failed, the last with {failure}")
