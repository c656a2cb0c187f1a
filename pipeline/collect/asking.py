"""Asking: every pending request, at every tier that has not answered it, within the limits and the budget."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import stamina

from features.errors import EndpointError, StorageError, TierRouterError
from pipeline.collect import outcomes
from pipeline.collect.board import Board
from pipeline.collect.budget import Budget
from pipeline.collect.failures import CallError
from pipeline.collect.journal import Journal
from pipeline.collect.lines import Line
from pipeline.collect.outcomes import NOT_SENT
from pipeline.collect.protocol import CUT, Reply

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS, JITTER_SECONDS = 1.0, 60.0, 1.0
# An endpoint that asks for more than this is not worth waiting for: the same command goes on later.
LONGEST_RETRY_AFTER_SECONDS = 600.0
# So many requests given up in a row, with no answer in between, and the tier is taken to be down.
GIVEN_UP_IN_A_ROW = 10
# Tries of a call that may each have been paid for; others go on up to the endpoint's `tries`.
MOST_PAID_TRIES = 3
OUT_OF_BUDGET = "the budget has no room"
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
    """Of one ask: attempts made so far, tries that may have been paid for, and whether its worst case is reserved."""

    made: int
    paid: int = 0
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
        self._error: BaseException | None = None

    async def everything(self, asks: Iterable[list[Ask]]) -> None:
        """Ask all of it, as far as it goes. What belongs together is begun together or not at all.

        Raises:
            EndpointError: no call of a tier can succeed.
            StorageError: the journal cannot be written.
        """
        # By itself it logs a line for every retry; the board counts them.
        stamina.instrumentation.set_on_retry_hooks(())
        begun: set[asyncio.Task[Any]] = set()
        try:
            await self._begin(asks, begun)
            await _ended(begun)
        except asyncio.CancelledError:
            for task in begun:
                task.cancel()
            raise
        except TierRouterError:
            await _ended(begun)
            raise
        if self._error:
            raise self._error

    async def _begin(self, asks: Iterable[list[Ask]], begun: set[asyncio.Task[Any]]) -> None:
        # So many may be begun: the slower tier does not fall behind without bound.
        window = asyncio.Semaphore(2 * sum(line.way.endpoint.concurrency for line in self._lines.values()))

        def ended(task: asyncio.Task[Any]) -> None:
            begun.discard(task)
            window.release()
            # Not a TaskGroup, which would give up all calls in flight, paid for as they are, for the failure of one.
            if not task.cancelled() and (error := task.exception()):
                self._error = self._error or error
                self.end(f"unforeseen: {error!r}")

        for together in asks:
            for _ in together:
                await window.acquire()
            if self._board.ending or not await self.reserve(together):
                return
            for ask in together:
                begun.add(task := asyncio.create_task(self.one(ask)))
                task.add_done_callback(ended)

    async def reserve(self, together: list[Ask]) -> bool:
        """Reserve the most that a try of each can cost; where there is no room for it, end."""
        worst = sum(ask.worst_usd for ask in together)
        if not await self._budget.reserve(worst, len(together)):
            self._board.needed_usd = worst
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
            if self._no_more_tries:  # the end came between the task's making and its first step
                raise asyncio.CancelledError
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
            on=lambda error: self._again(error, ask.tier, line, tries),
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

    def _again(self, error: Exception, tier: str, line: Line, tries: _Tries) -> bool | float:
        """Whether to try again, and after how many seconds if the endpoint said so."""
        if not isinstance(error, CallError) or not error.again or self._no_more_tries:
            return False
        if tries.paid >= MOST_PAID_TRIES:
            return False
        if error.wait_s is None:
            return True
        if error.wait_s > LONGEST_RETRY_AFTER_SECONDS:
            self.end(f"{tier} asks to wait for {error.wait_s:,.0f} seconds (Retry-After)")
            return False
        line.pace.hold(error.wait_s)
        return error.wait_s

    async def _once_more(self, ask: Ask, line: Line, tries: _Tries) -> None:
        line.score.retried += 1
        if tries.reserved:
            return
        if not await self._budget.reserve(ask.worst_usd, 1):
            self._board.needed_usd = ask.worst_usd
            self.end(OUT_OF_BUDGET)
            raise CallError("no budget for another try", paid=False, again=False)
        tries.reserved = True

    async def _call(self, ask: Ask, line: Line, tries: _Tries) -> Reply:
        """One try, written down before and after."""
        expected = line.mean_tokens or ask.most_input + line.way.endpoint.output_limit
        await line.pace.slot(expected)
        tries.made += 1
        try:
            await self._journal.asking(ask.digest, ask.tier, tries.made, ask.worst_usd)
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
            tries.paid += 1
            await self._budget.settle(ask.worst_usd, outcome["charged_usd"])
            line.score.spent_usd += outcome["charged_usd"]
            if outcome.get("cost_usd") is None:
                self._board.unsure_usd += outcome["charged_usd"]
        if self._journal.writer.cramped:
            self.end(DISK_FULL)

    def _count(self, line: Line, reply: Reply, expected: float) -> None:
        line.score.answered(reply.model)
        line.score.cut += reply.finish == CUT
        if reply.used:
            line.learn(reply.used.input_tokens + reply.used.output_tokens, expected)
        if reply.doubt:
            line.score.doubts[reply.doubt] += 1

    def _give_up(self, tier: str, line: Line, failure: CallError) -> None:
        line.score.failed += 1
        line.score.gave_up[failure.cause] += 1
        never = not (line.score.before or line.score.done)
        # Of an endpoint that answers others, a task that it refuses says nothing.
        line.in_a_row += failure.again or never
        if failure.fatal:
            self._error = self._error or EndpointError(f"{tier}: {failure.fatal} ({failure})")
            self.end(f"{tier}: {failure.fatal}")
        elif line.in_a_row == GIVEN_UP_IN_A_ROW:
            self.end(f"{tier}: {line.in_a_row} requests in a row failed, the last with {failure}")


async def _ended(begun: set[asyncio.Task[Any]]) -> None:
    while begun:
        await asyncio.wait(begun)
