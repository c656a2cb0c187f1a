"""Requests that are decided on together: each as if it were alone, whatever the others are."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import settings
from serving import WORDS, answered, chat, connected, running, whole

from features.request import Request
from pipeline.config import Aim
from pipeline.limits import Limits, Needs
from pipeline.objective import Objective
from pipeline.runtime.decider import Decider, Options
from pipeline.runtime.decision import Decision
from pipeline.runtime.log_options import LogOptions
from pipeline.runtime.opened import LARGEST_RUN, MOST_ROWS, runs
from pipeline.serve.bodies import Refusal
from pipeline.serve.measures import Measures
from pipeline.serve.service import Service
from pipeline.serve.together import MOST, Together
from pipeline.ship import ship
from pipeline.sibling import retune

TEXTS = ("capital city river", "prove integral theorem", "", "zyx wvu", "capital prove month lemma " * 400)
LIMITS = {"flash": Limits(context_tokens=2_000, modalities=()), "pro": Limits()}
SWAPS = 20
WAIT_S = 30.0


@pytest.fixture(scope="module")
def decider(trained: Any) -> Iterator[Decider]:
    with Decider.open(trained.folder, Options(explore=0.0, limits=LIMITS)) as opened:
        yield opened


def same(found: Decision, expected: Decision) -> bool:
    return replace(found, id=expected.id) == expected


NEEDS = st.builds(
    Needs,
    st.builds(Request, st.sampled_from(TEXTS), st.integers(0, 10**4), st.integers(0, 9), st.integers(0, 9)),
    st.none() | st.integers(0, 10),
)


@given(asked=st.lists(NEEDS, max_size=12))
def test_decisions_made_together_are_those_made_alone(decider: Decider, asked: list[Needs]) -> None:
    found = decider.decide_all(asked)
    assert all(same(each, decider.decide(needs)) for each, needs in zip(found, asked, strict=True))


def test_each_keeps_its_own_time_for_the_first_token(trained: Any) -> None:
    slow = {"flash": Limits(), "pro": Limits(first_token_s=20.0)}
    with Decider.open(trained.folder, Options(explore=0.0, limits=slow)) as decider:
        hasty, patient = decider.decide_all([Needs(Request(WORDS), None, 2.0), Needs(Request(WORDS))])
    assert (hasty.reason, patient.reason == "realtime") == ("realtime", False)


def test_request_that_cannot_be_scored_harms_no_other(decider: Decider, caplog: pytest.LogCaptureFixture) -> None:
    bad, good = Needs(Request("x", context_bytes=2**70)), Needs(Request(TEXTS[0]))
    found = decider.decide_all([good, bad, good])
    expected = decider.decide(good)
    assert [same(each, expected) for each in found] == [True, False, True]
    assert "deciding failed" in caplog.text


@given(lengths=st.lists(st.integers(0, 3 * LARGEST_RUN), max_size=3 * MOST_ROWS))
def test_every_row_is_in_one_run_and_no_run_is_too_large(lengths: list[int]) -> None:
    found = list(runs(lengths))
    assert sorted(row for rows in found for row in rows) == list(range(len(lengths)))
    assert all(len(rows) <= MOST_ROWS for rows in found)
    assert all(len(rows) == 1 or len(rows) * max(lengths[row] for row in rows) <= LARGEST_RUN for rows in found)


def test_short_prompts_do_not_wait_in_the_run_of_a_long_one() -> None:
    assert list(runs([LARGEST_RUN, 10, 20])) == [[1, 2], [0]]


def test_version_that_changes_meanwhile_mixes_with_no_other(trained: Any, unrecorded: Any, tmp_path: Path) -> None:
    first = Path(shutil.copytree(trained.folder, tmp_path / "v1"))
    second = retune(first, (), Aim(Objective("pro_rate", 0.0)), settings(""), unrecorded).folder
    asked, options = [Needs(Request(text)) for text in TEXTS], Options(explore=0.0, poll_s=0.002)
    expected = {}
    for folder in (first, second):
        with Decider.open(folder, options) as each:
            expected[each.version] = [replace(decision, id="") for decision in each.decide_all(asked)]
    ship(first, tmp_path / "dest")
    seen: list[list[Decision]] = []
    stop = threading.Event()
    with Decider.open(tmp_path / "dest", options) as decider:

        def work() -> None:
            while not stop.is_set():
                seen.append(decider.decide_all(asked))

        with ThreadPoolExecutor(1) as thread:
            working = thread.submit(work)
            for at in range(SWAPS):
                ship((second, first)[at % 2], tmp_path / "dest")
                until(lambda at=at: decider.swaps > at)  # type: ignore[misc]  # each waits within its round
            stop.set()
            working.result(WAIT_S)
    found = [[replace(decision, id="") for decision in decisions] for decisions in seen]
    assert all(decisions == expected[decisions[0].version] for decisions in found)
    assert {decisions[0].version for decisions in found} == set(expected)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


def gathered(decide: Any, asked: Sequence[Needs]) -> list[Any]:
    """What comes of requests that are there at the same time."""

    async def run() -> list[Any]:
        together = Together(decide)
        return await asyncio.gather(*(together.decide(needs) for needs in asked), return_exceptions=True)

    return asyncio.run(run())


def test_those_that_are_there_at_the_same_time_are_decided_on_together(decider: Decider) -> None:
    sizes = []

    def decide(asked: Sequence[Needs]) -> list[Decision]:
        sizes.append(len(asked))
        return decider.decide_all(asked)

    asked = [Needs(Request(TEXTS[at % 2], turn_count=at)) for at in range(MOST + 3)]
    found = gathered(decide, asked)
    assert sizes == [MOST, 3]
    assert all(same(each, decider.decide(needs)) for each, needs in zip(found, asked, strict=True))


def test_nobody_waits_for_ever_where_deciding_ends_otherwise() -> None:
    def decide(_: Sequence[Needs]) -> list[Decision]:
        raise KeyError

    found = gathered(decide, [Needs(Request("x"))] * 2)
    assert [type(each) for each in found] == [asyncio.CancelledError] * 2


def test_who_leaves_while_it_waits_harms_no_other(decider: Decider) -> None:
    async def run() -> Decision:
        together = Together(decider.decide_all)
        leaving, staying = (asyncio.ensure_future(together.decide(Needs(Request(WORDS)))) for _ in range(2))
        await asyncio.sleep(0)
        leaving.cancel()
        return await asyncio.wait_for(staying, WAIT_S)

    assert same(asyncio.run(run()), decider.decide(WORDS))


@pytest.fixture
def service(decider: Decider) -> Iterator[Service]:
    made = Service(decider, Measures(decider, ()))
    yield made
    made.close()


def test_bodies_of_all_sizes_and_kinds_are_answered_as_alone(decider: Decider, service: Service) -> None:
    payloads = [chat(text) for text in TEXTS] + [{}, chat(7), chat(WORDS, tools=[{}])]
    bodies = [json.dumps(payload).encode() for payload in payloads] + [b"[]", b"{", b"\xff"]

    async def run() -> list[Any]:
        return await asyncio.gather(*(service.route(body) for body in bodies), return_exceptions=True)

    found = asyncio.run(run())
    decided = zip(found[: len(payloads)], payloads, strict=True)
    assert all(same(each, decider.decide(payload)) for each, payload in decided)
    assert [type(each) for each in found[len(payloads) :]] == [Refusal] * 3


def test_every_decision_made_together_is_counted_and_logged(trained: Any, tmp_path: Path) -> None:
    with Decider.open(trained.folder, Options(log=LogOptions(tmp_path))) as decider:
        service = Service(decider, Measures(decider, ()))

        async def run() -> list[Decision]:
            return list(await asyncio.gather(*(service.route(json.dumps(chat()).encode()) for _ in range(5))))

        found = asyncio.run(run())
        service.close()
    assert service.measures.decisions == 5
    [file] = tmp_path.glob("*.jsonl")
    assert {json.loads(line)["task_id"] for line in file.read_text().splitlines()} == {each.id for each in found}


def test_callers_at_the_same_time_get_each_its_own_answer(decider: Decider) -> None:
    bodies = [json.dumps(chat(TEXTS[at % 4])).encode() if at % 5 else b"{" for at in range(40)]
    with running(decider) as url:
        alone = [httpx.post(f"{url}/route", content=body).json() for body in bodies[:20]] * 2
        connections = [connected(url) for _ in bodies]
        for connection, body in zip(connections, bodies, strict=True):
            connection.sendall(whole(body))
        found = [json.loads(answered(connection).partition(b"\r\n\r\n")[2]) for connection in connections]
        for connection in connections:
            connection.close()
    assert [each | {"id": ""} for each in found] == [each | {"id": ""} for each in alone]
