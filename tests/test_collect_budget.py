"""Limits: what may be spent, how fast it may be asked, what it will take."""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_left
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import settings

from features.errors import InputError
from pipeline.collect import pace
from pipeline.collect.board import Board, Score
from pipeline.collect.budget import Budget, Fare
from pipeline.collect.forecast import forecast
from pipeline.collect.lines import ways
from pipeline.collect.pace import Pace
from pipeline.collect.protocol import Used
from pipeline.settings import ASSUMED

ROUNDING = 1e-9
PRICE = """
[[price]]
deployment = "own/{name}"
from = 2020-01-01
input = {input}
cached = {cached}
output = {output}
source = "made up"
"""
NIGHT = '[price.peak]\nwhen = { zone = "UTC", days = ["mon"], hours = ["06:00-12:00"] }\ninput = 20.0\noutput = 40.0\n'
MONDAY, LATER = datetime(2026, 11, 23, 11, 59, tzinfo=UTC), datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Work that has to come to an end by itself: nothing here waits for anything but itself."""

    async def bounded() -> Any:
        async with asyncio.timeout(20):
            return await work

    return asyncio.run(bounded())


def budget(limit_usd: float, charged_usd: float = 0.0) -> tuple[Budget, Board]:
    board = Board({}, limit_usd, charged_usd)
    return Budget(limit_usd, board), board


# Budget


def test_what_is_in_flight_counts_as_spent() -> None:
    async def work() -> None:
        found, board = budget(1.0, 0.25)
        assert await found.reserve(0.5, 1)
        assert found.left_usd == 0.25
        await found.settle(0.5, 0.125)
        assert found.left_usd == 0.625
        assert board.charged_usd == 0.375

    run(work())


def test_without_room_and_nothing_in_flight_it_is_refused() -> None:
    async def work() -> None:
        found, _ = budget(1.0)
        assert not await found.reserve(1.01, 2)
        assert await found.reserve(1.0, 2)

    run(work())


def test_without_room_it_waits_for_what_is_in_flight() -> None:
    async def work() -> None:
        found, _ = budget(1.0)
        assert await found.reserve(0.8, 1)
        waiting = asyncio.create_task(found.reserve(0.8, 1))
        await asyncio.sleep(0)
        assert not waiting.done()
        await found.settle(0.8, 0.1)
        assert await waiting

    run(work())


def test_all_that_wait_are_told_when_nothing_is_left_in_flight() -> None:
    async def work() -> None:
        found, _ = budget(1.0)
        assert await found.reserve(0.8, 1)
        waiting = [asyncio.create_task(found.reserve(0.8, 1)) for _ in range(20)]
        await asyncio.sleep(0)
        await found.settle(0.8, 0.8)
        assert await asyncio.gather(*waiting) == [False] * 20

    run(work())


def test_one_that_stops_waiting_holds_nobody_up() -> None:
    async def work() -> None:
        found, _ = budget(1.0)
        assert await found.reserve(0.8, 1)
        first, second = (asyncio.create_task(found.reserve(0.8, 1)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await found.settle(0.8, 0.0)
        assert await second

    run(work())


def test_reservations_leave_no_rounding_behind() -> None:
    async def work() -> None:
        found, _ = budget(1.0)
        for _ in range(1000):
            assert await found.reserve(0.1 + 0.2, 2)
            await found.settle(0.1, 0.0)
            await found.settle(0.2, 0.0)
        assert found.left_usd == 1.0

    run(work())


@dataclass
class Crowd:
    """Clients of one budget that behave as the collector does, by chance."""

    draw: random.Random
    budget: Budget
    board: Board

    def check(self) -> None:
        assert self.board.charged_usd + self.budget.reserved_usd <= self.budget.limit_usd + ROUNDING

    async def client(self) -> None:
        """Reserves one or two calls together, and makes them."""
        for _ in range(5):
            calls = [self.draw.uniform(0, 0.5) for _ in range(self.draw.randint(1, 2))]
            if not await self.budget.reserve(sum(calls), len(calls)):
                return
            self.check()
            await asyncio.gather(*map(self.call, calls))

    async def call(self, worst: float) -> None:
        """Some tries, each of which may be paid for; the next one then reserves anew."""
        reserved = True
        for _ in range(self.draw.randint(1, 4)):
            reserved = reserved or await self.budget.reserve(worst, 1)
            if not reserved:
                return
            self.check()
            for _ in range(self.draw.randint(0, 3)):
                await asyncio.sleep(0)
            if self.draw.random() < 0.7:
                await self.budget.settle(worst, self.draw.choice([worst, self.draw.uniform(0, worst)]))
                reserved = False
            self.check()
        if reserved:
            await self.budget.settle(worst, 0.0)


@given(st.integers(0, 10_000), st.floats(0.0, 3.0), st.integers(1, 40))
def test_charged_and_reserved_never_exceed_the_limit_and_nobody_waits_for_ever(
    seed: int, limit_usd: float, clients: int
) -> None:
    async def work() -> None:
        crowd = Crowd(random.Random(seed), *budget(limit_usd))
        await asyncio.gather(*(crowd.client() for _ in range(clients)))
        assert crowd.budget.reserved_usd == 0.0
        crowd.check()

    run(work())


# What a call costs


def fare(more: str = "") -> Fare:
    found = settings(PRICE.format(name="model", input=2.0, cached=0.5, output=4.0) + more)
    return Fare(found.prices, "own/model")


def test_a_call_costs_what_the_table_says() -> None:
    assert fare().usd(Used(1_000_000, 400_000, 500_000, None), MONDAY) == pytest.approx(0.6 * 2 + 0.4 * 0.5 + 0.5 * 4)


def test_a_call_that_crosses_into_another_hour_costs_the_dearer_one() -> None:
    used = Used(1_000_000, 0, 0, None)
    assert fare(NIGHT).usd(used, LATER) == pytest.approx(2.0)
    assert fare(NIGHT).usd(used, MONDAY, LATER) == pytest.approx(20.0)
    assert fare(NIGHT).usd(used, LATER, MONDAY) == pytest.approx(20.0)


def test_the_worst_case_is_at_the_dearest_hour_with_nothing_cached() -> None:
    assert fare().worst_usd(1_000_000, 1_000_000) == pytest.approx(6.0)
    assert fare(NIGHT).worst_usd(1_000_000, 1_000_000) == pytest.approx(60.0)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_no_call_costs_more_than_the_worst_case(given_tokens: int, cached: int, output: int) -> None:
    used = Used(given_tokens, min(cached, given_tokens), output, None)
    for moment in (MONDAY, LATER):
        cost = fare(NIGHT).usd(used, moment)
        assert cost is not None
        assert cost <= fare(NIGHT).worst_usd(given_tokens, output) + ROUNDING


# Pace


class Clock:
    """Time that passes only where it is slept."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(pace.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(pace.asyncio, "sleep", self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    def slots(
        self, found: Pace, count: int, tokens: float = 0.0, between: Callable[[], float] = lambda: 0.0
    ) -> list[float]:
        """When so many slots are given out, with some time of the caller's own between them."""

        async def work() -> list[float]:
            times = []
            for _ in range(count):
                await found.slot(tokens)
                times.append(self.now)
                self.now += between()
            return times

        return asyncio.run(work())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def most_in_a_minute(times: list[float]) -> int:
    """The most slots in any window of 60 seconds, both ends included."""
    return max(bisect_left(times, start + 60.0 + ROUNDING) - at for at, start in enumerate(times))


@pytest.mark.parametrize("limit", [1, 2, 7, 60, 500, 2000, 10_000])
def test_never_more_in_a_minute_than_the_limit_and_hardly_less(clock: Clock, limit: int) -> None:
    times = clock.slots(Pace(limit, None), 3 * limit + 1)
    assert most_in_a_minute(times) <= limit
    assert (len(times) - 1) / (times[-1] - times[0]) * 60 >= 0.95 * limit


@pytest.mark.parametrize("limit", [2, 60, 2000])
@pytest.mark.parametrize("seed", range(3))
def test_pauses_are_not_made_up_for_above_the_limit(clock: Clock, limit: int, seed: int) -> None:
    draw = random.Random(seed)
    pauses = lambda: draw.choice([0.0] * 20 + [0.01, 0.4, 3.0, 70.0])  # noqa: E731
    assert most_in_a_minute(clock.slots(Pace(limit, None), 3 * limit, between=pauses)) <= limit


def test_short_pauses_are_made_up_for(clock: Clock) -> None:
    draw = random.Random(0)
    times = clock.slots(Pace(2000, None), 6000, between=lambda: draw.choice([0.0] * 9 + [0.2]))
    assert len(times) / (times[-1] - times[0]) * 60 >= 0.95 * 2000


@pytest.mark.parametrize("tokens", [10.0, 1000.0, 5000.0])
def test_tokens_are_kept_within_their_limit(clock: Clock, tokens: float) -> None:
    times = clock.slots(Pace(None, 60_000), 600, tokens)
    assert most_in_a_minute(times) * tokens <= 60_000 + tokens
    assert len(times) * tokens / (times[-1] - times[0]) * 60 >= 0.95 * 60_000


def test_tokens_beyond_what_was_expected_are_waited_for(clock: Clock) -> None:
    found = Pace(None, 60_000)
    clock.slots(found, 1, 100.0)
    found.correct(59_900)
    [_, later] = [clock.now, *clock.slots(found, 1, 100.0)]
    assert later == pytest.approx(1000 + 60 / pace.USED, abs=1)


def test_tokens_that_were_not_needed_are_given_back(clock: Clock) -> None:
    found = Pace(None, 60_000)
    clock.slots(found, 1, 60_000.0)
    found.correct(-60_000)
    assert clock.slots(found, 1) == [1000.0]


def test_a_hold_is_kept_and_a_shorter_one_does_not_end_it(clock: Clock) -> None:
    found = Pace(None, None)
    found.hold(30)
    found.hold(5)
    assert clock.slots(found, 3) == [1030.0] * 3


def test_without_limits_nothing_waits(clock: Clock) -> None:
    assert set(clock.slots(Pace(None, None), 1000)) == {1000.0}


# Forecast

ENDPOINTS = """
[tiers.flash]
base_url = "http://localhost"
model = "own/cheap"
output_limit = 1000
{flash}
[tiers.pro]
base_url = "http://localhost"
model = "own/dear"
output_limit = 1000
"""
OWN = PRICE.format(name="cheap", input=1.0, cached=0.1, output=2.0)
OWN += PRICE.format(name="dear", input=10.0, cached=0.1, output=20.0)
NEVER = {"flash": None, "pro": None}


def test_a_forecast_counts_calls_and_tokens_and_cost_of_each_tier() -> None:
    found = forecast(
        ways(settings(ENDPOINTS.format(flash="output_tokens = 50") + OWN)),
        [("flash", 400, 2000), ("pro", 400, 2000)] * 3,
        NEVER,
    )
    flash, pro = found["flash"], found["pro"]
    assert (flash.calls, flash.input_tokens, flash.output_tokens, flash.output_known) == (3, 300.0, 150.0, "config")
    assert flash.cost_usd == pytest.approx((300 * 1 + 150 * 2) / 1e6)
    assert flash.worst_usd == pytest.approx(3 * (2000 * 1 + 1000 * 2) / 1e6)
    assert (pro.output_tokens, pro.output_known) == (3 * ASSUMED["output_tokens"], "assumed")
    assert pro.worst_usd == pytest.approx(10 * flash.worst_usd)


def test_a_forecast_takes_the_mean_output_from_the_journal_where_there_is_one() -> None:
    found = forecast(
        ways(settings(ENDPOINTS.format(flash="") + OWN)), [("flash", 400, 2000)], {"flash": 20.0, "pro": None}
    )
    assert (found["flash"].output_tokens, found["flash"].output_known) == (20.0, "journal")


def test_a_forecast_is_never_above_the_output_limit() -> None:
    found = forecast(
        ways(settings(ENDPOINTS.format(flash="output_tokens = 5000") + OWN)), [("flash", 400, 2000)], NEVER
    )
    assert found["flash"].output_tokens == 1000.0
    assert found["flash"].cost_usd <= found["flash"].worst_usd


# Ways


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[tiers.flash]\nmodel = "m"', r"tiers\.flash\.base_url is missing: add it to \[tiers\.flash\]"),
        ('[tiers.pro]\nbase_url = "http://h"', r"tiers\.pro\.model is missing"),
        (
            '[tiers.flash]\nmodel = "mine"\nbase_url = "http://h"',
            r"tiers\.flash\.model = 'mine': the price table does not have it.*add a \[\[price\]\] block",
        ),
    ],
)
def test_a_tier_that_cannot_be_asked_is_named(text: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        ways(settings(text), with_keys=False)


def test_a_judge_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match=r"judge\.model is missing: add it to \[judge\]"):
        ways(settings(""), ("judge",), with_keys=False)


def test_without_a_file_the_tiers_are_deepseeks() -> None:
    found = ways(settings(""), with_keys=False)
    assert {way.endpoint.base_url for way in found.values()} == {"https://api.deepseek.com"}
    assert found["flash"].endpoint.model != found["pro"].endpoint.model
    assert found["pro"].worst_usd(1000) > found["flash"].worst_usd(1000) > 0


def test_a_way_does_not_show_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", "sk-secretsecret")
    found = ways(settings(""))
    assert found["flash"].key == "sk-secretsecret"
    assert "secret" not in repr(found)


# Numbers


def test_the_rate_counts_the_last_minute() -> None:
    score = Score(total=500)
    for at in range(200):
        score.answered("m", now=float(at))
    assert score.per_minute(now=199.0) == pytest.approx(61, abs=1.1)
    assert score.seconds_left(now=199.0) == pytest.approx(300, rel=0.05)
    assert score.per_minute(now=10_000.0) == 0.0
    assert score.seconds_left(now=10_000.0) is None


def test_a_board_is_complete_when_nothing_is_left_or_given_up() -> None:
    assert Board({"flash": Score(total=3, before=1, done=2)}, 1.0).complete
    assert not Board({"flash": Score(total=3, before=1, done=1)}, 1.0).complete
    assert not Board({"flash": Score(total=3, before=1, done=1, failed=1)}, 1.0).complete
