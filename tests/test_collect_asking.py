"""Collecting from a real server: what is asked, what stops it, and what is in the journal afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from scripted import OUTPUT_LIMIT, PRICES, Bench, Reply, Seen, answer, bench, completion, error, says, task, task_file

from features.errors import EndpointError, InputError, StorageError
from pipeline.collect.asking import DISK_FULL, GIVEN_UP_IN_A_ROW, INTERRUPTED, OUT_OF_BUDGET, Ask, Asking
from pipeline.collect.journal import opened
from pipeline.collect.protocol import most_input_tokens
from pipeline.collect.storage import ballast_of
from pipeline.collect.tasks import read

BILLED_USD = 20e-6 + 10 * 2e-6  # of an answer with the usage that `completion` states
PATIENCE_SECONDS = 30.0


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.collect.asking.FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.setattr("pipeline.collect.asking.JITTER_SECONDS", 0.001)


def always(_: Seen) -> Reply:
    return answer()


def calls(bench: Bench, columns: str = "*", where: str = "1") -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(bench.journal)) as journal:
        return journal.execute(f"SELECT {columns} FROM calls WHERE {where} ORDER BY digest, tier, attempt").fetchall()


def worst_usd(bench: Bench) -> float:
    """The most that a call for the first task can cost."""
    asked = next(read([bench.tasks])).asked
    given, _, output = PRICES["flash"]
    return (most_input_tokens(asked, 1) * given + OUTPUT_LIMIT * output) / 1e6


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


# Asking once


def test_both_tiers_are_asked_every_task_once_and_the_answers_are_kept_whole(tmp_path: Path) -> None:
    with bench(tmp_path, always, 30) as found:
        board = found.collect()
        expected = sorted((tier, f"What is task-{at}?") for at in range(30) for tier in ("flash", "pro"))
        assert found.server.prompts == expected
        assert board.complete
        assert board.ending == ""
        assert Counter(calls(found, "state, tier, attempt, model, input_tokens, output_tokens")) == {
            ("answered", "flash", 1, "scripted", 20, 10): 30, ("answered", "pro", 1, "scripted", 20, 10): 30,
        }  # fmt: skip
        assert {reply for (reply,) in calls(found, "reply")} == {answer().body.decode()}
        assert board.charged_usd == pytest.approx(60 * BILLED_USD)


def test_a_second_run_asks_nothing(tmp_path: Path) -> None:
    with bench(tmp_path, always, 5) as found:
        found.collect()
        board = found.collect()
        assert len(found.server.seen) == 10
        assert board.complete
        assert board.scores["pro"].before == 5


def test_a_changed_task_is_asked_and_the_answer_to_what_it_was_is_kept(tmp_path: Path) -> None:
    with bench(tmp_path, always, 3) as found:
        found.collect()
        task_file(tmp_path, [task("task-0"), task("task-1", prompt="What else?"), task("task-2")])
        found.collect()
        assert [prompt for _, prompt in found.server.prompts].count("What else?") == 2
        assert len(found.server.seen) == 8
        assert len(calls(found)) == 8


def test_a_task_with_another_grader_or_name_is_not_asked_again(tmp_path: Path) -> None:
    with bench(tmp_path, always, [task("one", prompt="What?")]) as found:
        found.collect()
        task_file(tmp_path, [task("two", prompt="What?", grader={"kind": "human"}, category="other", group="g")])
        found.collect()
        assert len(found.server.seen) == 2


def test_two_tasks_that_ask_the_same_are_asked_once(tmp_path: Path) -> None:
    with bench(tmp_path, always, [task("one", prompt="What?"), task("two", prompt="What?")]) as found:
        board = found.collect()
        assert len(found.server.seen) == 2
        assert board.complete


def test_nothing_is_asked_and_nothing_is_kept_when_a_late_line_is_bad(tmp_path: Path) -> None:
    with bench(tmp_path, always, [*(task(f"task-{at}") for at in range(4999)), {"id": "bad"}]) as found:
        with pytest.raises(InputError, match=r"line 5000: give either prompt or messages"):
            found.collect()
        assert found.server.seen == []
        with closing(sqlite3.connect(found.journal)) as journal:
            assert journal.execute(
                "SELECT (SELECT count(*) FROM tasks), (SELECT count(*) FROM requests)"
            ).fetchall() == [(0, 0)]


def test_a_request_that_was_given_up_is_asked_again_by_the_next_run(tmp_path: Path) -> None:
    broken = {"flash"}
    with bench(tmp_path, lambda seen: error(503) if seen.tier in broken else answer(), 2) as found:
        assert not found.collect().complete
        broken.clear()
        assert found.collect().complete
        assert Counter(each.tier for each in found.server.seen) == {"flash": 4, "pro": 2}
        assert calls(found, "attempt, state", "tier = 'flash'") == [(1, "failed"), (2, "answered")] * 2


@pytest.mark.parametrize(("name", "value"), [("model", "made-up/pro"), ("effort", "low"), ("output_limit", 50)])
def test_another_model_effort_or_limit_under_the_same_journal_is_refused(
    tmp_path: Path, name: str, value: object
) -> None:
    with bench(tmp_path, always) as found:
        found.collect()
        with pytest.raises(InputError, match=rf"collected with tiers\.flash\.{name} = .*give --journal another path"):
            found.collect(**{name: value})
        assert len(found.server.seen) == 2


def test_another_limit_of_calls_under_the_same_journal_is_fine(tmp_path: Path) -> None:
    with bench(tmp_path, always) as found:
        found.collect()
        assert found.collect(concurrency=1, tries=3, call_timeout_s=5.0).complete


def test_a_second_collector_is_refused(tmp_path: Path) -> None:
    with bench(tmp_path, always) as found, opened(found.journal):
        with pytest.raises(InputError, match="another tier-router command is at work on this journal"):
            found.collect()
        assert found.server.seen == []


def test_never_more_calls_at_once_than_the_concurrency(tmp_path: Path) -> None:
    flying, most, lock = Counter[str](), Counter[str](), threading.Lock()

    def script(seen: Seen) -> Reply:
        with lock:
            flying[seen.tier] += 1
            most[seen.tier] = max(most[seen.tier], flying[seen.tier])
        time.sleep(0.005)
        with lock:
            flying[seen.tier] -= 1
        return answer()

    with bench(tmp_path, script, 20, flash={"concurrency": 3}, pro={"concurrency": 1}) as found:
        found.collect()
    assert most["flash"] <= 3
    assert most["pro"] == 1


# Failures


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (401, "the key is wrong or missing: check key_env"),
        (402, "the balance is used up: add funds, then give the same command again"),
        (404, "there is no such model or address: check model and base_url"),
        (308, "the address moved"),
    ],
)
def test_a_failure_that_all_calls_share_stops_at_once(tmp_path: Path, status: int, remedy: str) -> None:
    with bench(tmp_path, lambda _: error(status), 200, concurrency=2, tries=6) as found:
        with pytest.raises(EndpointError, match=remedy):
            found.collect()
        assert len(found.server.seen) <= 4  # those that were in flight already
        assert set(calls(found, "state, charged_usd")) == {("failed", 0.0)}


def test_an_empty_balance_is_known_by_its_words_too(tmp_path: Path) -> None:
    with bench(tmp_path, lambda _: error(429, "insufficient_quota"), 50, tries=6) as found:
        with pytest.raises(EndpointError, match="the balance is used up"):
            found.collect()
        assert len(found.server.seen) <= 8


def test_the_answers_of_the_other_tier_are_kept_when_one_tier_stops_all(tmp_path: Path) -> None:
    answered = threading.Event()

    def script(seen: Seen) -> Reply:
        if seen.tier == "pro":
            return error(401)
        answered.set()
        return answer()

    def late(seen: Seen) -> Reply:
        reply = script(seen)
        return Reply(reply.body, reply.status, after=answered) if seen.tier == "pro" else reply

    with bench(tmp_path, late) as found:
        with pytest.raises(EndpointError):
            found.collect()
        assert calls(found, "tier, state") == [("flash", "answered"), ("pro", "failed")]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 529])
def test_a_passing_failure_is_tried_again(tmp_path: Path, status: int) -> None:
    tries = Counter[str]()

    def script(seen: Seen) -> Reply:
        tries[seen.tier] += 1
        return error(status) if tries[seen.tier] < 3 else answer()

    with bench(tmp_path, script, tries=3) as found:
        board = found.collect()
        assert board.complete
        assert tries == {"flash": 3, "pro": 3}
        assert board.scores["flash"].causes == {f"HTTP {status}": 2}
        assert board.scores["flash"].retried == 2
        assert [state for (state,) in calls(found, "state", "tier = 'pro'")] == ["failed", "failed", "answered"]


def test_no_more_tries_than_were_allowed(tmp_path: Path) -> None:
    with bench(tmp_path, lambda _: error(503), tries=4) as found:
        board = found.collect()
        assert len(found.server.seen) == 8
        assert board.scores["pro"].gave_up == {"HTTP 503": 1}


def test_a_request_that_the_endpoint_refuses_is_not_tried_again_and_the_others_are_asked(tmp_path: Path) -> None:
    def script(seen: Seen) -> Reply:
        return error(400, "too long") if "task-3" in seen.prompt else answer()

    with bench(tmp_path, script, 20, tries=5) as found:
        board = found.collect()
        assert len(found.server.seen) == 40
        assert board.scores["flash"].done == 19
        assert board.scores["flash"].causes == {"HTTP 400": 1}
        assert "too long" in board.scores["flash"].examples["HTTP 400"]


def test_retry_after_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[float] = []
    # Without the header the second try would come after a minute at the least.
    monkeypatch.setattr("pipeline.collect.asking.FIRST_WAIT_SECONDS", 60.0)

    def script(seen: Seen) -> Reply:
        if seen.tier == "flash":
            times.append(time.monotonic())
            return error(429, retry_after="0.3") if len(times) == 1 else answer()
        return answer()

    with bench(tmp_path, script, tries=2) as found:
        assert found.collect().complete
    assert times[1] - times[0] >= 0.3


def test_retry_after_zero_is_tried_again(tmp_path: Path) -> None:
    tries = Counter[str]()

    def script(seen: Seen) -> Reply:
        tries[seen.tier] += 1
        return error(503, retry_after="0") if tries[seen.tier] == 1 else answer()

    with bench(tmp_path, script, tries=2) as found:
        assert found.collect().complete


def test_retry_after_holds_the_other_calls_of_the_tier_back(tmp_path: Path) -> None:
    times: list[float] = []

    def script(seen: Seen) -> Reply:
        if seen.tier == "flash":
            times.append(time.monotonic())
            return error(429, retry_after="0.3") if len(times) == 1 else answer()
        return answer()

    with bench(tmp_path, script, 5, tries=2, flash={"concurrency": 1}) as found:
        assert found.collect().complete
    assert times[1] - times[0] >= 0.3


def test_an_endpoint_that_wants_an_hour_ends_the_run_and_is_told_so(tmp_path: Path) -> None:
    with bench(tmp_path, lambda _: error(429, retry_after="3600"), 100, tries=6) as found:
        board = found.collect()
        assert board.ending.endswith("asks to wait for 3,600 seconds (Retry-After)")
        assert len(found.server.seen) <= 8
        assert not board.complete


def test_an_endpoint_that_is_down_ends_the_run_after_ten_requests_in_a_row(tmp_path: Path) -> None:
    script = lambda seen: error(503) if seen.tier == "pro" else answer()  # noqa: E731
    with bench(tmp_path, script, 300, concurrency=1) as found:
        board = found.collect()
        assert board.ending.startswith(f"pro: {GIVEN_UP_IN_A_ROW} requests in a row failed, the last with HTTP 503")
        assert Counter(each.tier for each in found.server.seen)["pro"] == GIVEN_UP_IN_A_ROW
        assert board.scores["pro"].left == 290


def test_a_request_that_was_to_begin_as_the_run_ended_is_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Asking.one

    async def late(asking: Asking, ask: Ask) -> Any:
        await asyncio.sleep(0.05)
        return await begin(asking, ask)

    monkeypatch.setattr(Asking, "one", late)
    script = lambda seen: error(503) if seen.tier == "pro" else answer()  # noqa: E731
    with bench(tmp_path, script, 300, concurrency=1) as found:
        board = found.collect()
        assert Counter(each.tier for each in found.server.seen)["pro"] == GIVEN_UP_IN_A_ROW
        assert board.scores["pro"].left == 290


def test_a_run_of_failures_with_answers_in_between_goes_on_to_the_end(tmp_path: Path) -> None:
    count = Counter[str]()

    def script(seen: Seen) -> Reply:
        count[seen.tier] += 1
        return answer() if count[seen.tier] % 5 == 0 else error(500)

    with bench(tmp_path, script, 60, concurrency=1) as found:
        board = found.collect()
        assert board.ending == ""
        assert board.scores["flash"].done == 12


def test_an_unreachable_endpoint_costs_nothing_and_is_told(tmp_path: Path) -> None:
    with bench(tmp_path, always, 40) as found:
        board = found.collect(base_url="http://127.0.0.1:9")  # nothing listens at "discard"
        assert board.scores["flash"].causes.keys() == {"no connection"}
        assert "requests in a row failed" in board.ending
        assert board.charged_usd == 0.0


def test_retries_are_not_written_to_standard_error_one_by_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with bench(tmp_path, lambda _: error(503), tries=3) as found:
        found.collect()
    assert capfd.readouterr().err == ""


def test_no_try_follows_once_another_call_has_shown_that_none_can_succeed(tmp_path: Path) -> None:
    refused = threading.Event()

    def script(seen: Seen) -> Reply:
        if seen.tier == "pro":
            return error(401)
        return Reply(b"{}", 503, after=refused)

    with bench(tmp_path, script, tries=50) as found:
        threading.Timer(0.3, refused.set).start()  # long after the other tier has answered
        with pytest.raises(EndpointError):
            found.collect()
        assert Counter(each.tier for each in found.server.seen) == {"flash": 1, "pro": 1}


# Doubtful answers


@pytest.mark.parametrize(
    "usage",
    [
        None, {"prompt_tokens": 20, "completion_tokens": 10**9}, {"prompt_tokens": -5, "completion_tokens": 10},
        {"prompt_tokens": "20", "completion_tokens": 10}, {"prompt_tokens": 20},
    ],
)  # fmt: skip
def test_an_answer_with_usage_that_cannot_be_true_is_kept_and_charged_at_the_worst_case(
    tmp_path: Path, usage: object
) -> None:
    with bench(tmp_path, lambda _: says(completion(usage=usage))) as found:
        board = found.collect()
        assert board.complete
        assert (
            calls(found, "charged_usd, cost_usd, input_tokens") == [(pytest.approx(worst_usd(found)), None, None)] * 2
        )
        assert sum(board.scores["flash"].doubts.values()) == 1


def test_an_answer_that_may_be_paid_for_but_is_unusable_is_charged_at_the_worst_case(tmp_path: Path) -> None:
    with bench(tmp_path, lambda _: Reply(b'{"choices": ')) as found:
        board = found.collect()
        assert (
            calls(found, "state, paid, charged_usd, reply")
            == [("failed", 1, pytest.approx(worst_usd(found)), '{"choices": ')] * 2
        )
        assert board.charged_usd == pytest.approx(2 * worst_usd(found))


def test_the_model_and_fingerprint_that_answered_are_kept(tmp_path: Path) -> None:
    with bench(tmp_path, lambda _: says(completion(model="another", system_fingerprint="fp_1"))) as found:
        board = found.collect()
        assert calls(found, "model, fingerprint") == [("another", "fp_1")] * 2
        assert board.scores["pro"].models == {"another": 1}


# Budget


def test_it_stops_within_the_budget_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    with bench(tmp_path, always, 60) as found:
        small, large = 4 * worst_usd(found), 1.0
        board = found.collect(small)
        asked = len(found.server.seen)
        assert board.ending == OUT_OF_BUDGET
        assert 0 < asked < 120
        assert asked * BILLED_USD <= board.charged_usd + 1e-12
        assert board.charged_usd <= small
        assert found.collect(large).complete
        assert len(found.server.seen) == 120
        assert len(set(found.server.prompts)) == 120


def test_a_budget_below_the_worst_case_of_one_task_asks_nothing(tmp_path: Path) -> None:
    with bench(tmp_path, always) as found:
        board = found.collect(1.9 * worst_usd(found))
        assert board.ending == OUT_OF_BUDGET
        assert found.server.seen == []
        assert found.collect(2.1 * worst_usd(found)).complete


def test_the_worst_case_of_calls_in_flight_is_within_the_budget(tmp_path: Path) -> None:
    flying, most, lock = 0, 0, threading.Lock()

    def script(_: Seen) -> Reply:
        nonlocal flying, most
        with lock:
            flying += 1
            most = max(most, flying)
        time.sleep(0.01)
        with lock:
            flying -= 1
        return answer()

    with bench(tmp_path, script, 30, concurrency=16) as found:
        found.collect(6.5 * worst_usd(found))
        assert 0 < most <= 6


def test_what_earlier_runs_cost_counts_against_the_budget(tmp_path: Path) -> None:
    with bench(tmp_path, always, 5) as found:
        found.collect()
        task_file(tmp_path, [task(f"other-{at}") for at in range(5)])
        board = found.collect(10 * BILLED_USD + 1.5 * worst_usd(found))
        assert board.ending == OUT_OF_BUDGET
        assert len(found.server.seen) == 10


def test_paid_failures_never_lead_above_the_budget(tmp_path: Path) -> None:
    with bench(tmp_path, lambda _: Reply(b"not JSON"), 30, tries=6, concurrency=8) as found:
        limit = 9.5 * worst_usd(found)
        board = found.collect(limit)
        assert board.ending == OUT_OF_BUDGET
        assert board.charged_usd <= limit
        assert len(found.server.seen) == 9


# Interruptions


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_waits_for_the_answers_in_flight_and_begins_nothing(tmp_path: Path, number: int) -> None:
    go = threading.Event()
    with bench(tmp_path, lambda _: Reply(answer().body, after=go), 30, concurrency=2) as found:

        def interrupt() -> None:
            until(lambda: len(found.server.seen) == 4)
            os.kill(os.getpid(), number)
            until(lambda: bool(found.told))
            go.set()

        thread = threading.Thread(target=interrupt)
        thread.start()
        board = found.collect()
        thread.join()
        assert board.ending == INTERRUPTED
        assert found.told == ["stopping: waiting for 4 calls in flight, which are paid for; once more gives them up"]
        assert len(found.server.seen) == 4
        assert Counter(state for (state,) in calls(found, "state", "paid")) == {"answered": 4}
        assert {cause for (cause,) in calls(found, "cause", "NOT paid")} <= {"not sent"}
        assert found.collect().complete
        assert len(found.server.seen) == 60


def test_after_an_interruption_a_call_that_fails_is_not_tried_again(tmp_path: Path) -> None:
    go = threading.Event()
    with bench(tmp_path, lambda _: Reply(b"{}", 503, after=go), tries=50) as found:

        def interrupt() -> None:
            until(lambda: len(found.server.seen) == 2)
            os.kill(os.getpid(), signal.SIGINT)
            until(lambda: bool(found.told))
            go.set()

        thread = threading.Thread(target=interrupt)
        thread.start()
        board = found.collect()
        thread.join()
        assert board.ending == INTERRUPTED
        assert len(found.server.seen) == 2


def test_a_second_interruption_gives_the_calls_in_flight_up_at_their_worst_case(tmp_path: Path) -> None:
    go = threading.Event()
    with bench(tmp_path, lambda _: Reply(answer().body, after=go), 30, concurrency=2) as found:

        def interrupt() -> None:
            until(lambda: len(found.server.seen) == 4)
            os.kill(os.getpid(), signal.SIGINT)
            until(lambda: bool(found.told))
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            found.collect()
        thread.join()
        go.set()
        assert calls(found, "state, attempt", "charged_usd > 0") == [("asked", 1)] * 4
        with opened(found.journal) as journal:
            assert journal.charged[0] == pytest.approx(4 * worst_usd(found), rel=0.01)
        assert found.collect().complete
        assert len(found.server.seen) == 64


def test_the_signals_are_as_before_afterwards(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with bench(tmp_path, always) as found:
        found.collect()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def command(found: Bench, *more: str) -> subprocess.Popen[str]:
    """The real command, at work."""
    path = Path(sys.executable).with_name("tier-router")
    arguments = [str(path), "collect", str(found.tasks), "--config", str(found.config), "--budget", "1", *more]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=found.folder)


def test_an_interrupted_command_leaves_with_130_and_says_how_to_go_on(tmp_path: Path) -> None:
    go = threading.Event()
    with bench(tmp_path, lambda _: Reply(answer().body, after=go), 30, concurrency=1) as found:
        process = command(found)
        until(lambda: len(found.server.seen) == 2)
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)  # so that it waits, which the lines below do not rely on
        go.set()
        said, told = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 130, told
        assert "not all is answered: the same command goes on" in said
        assert "spent; interrupted" in said
        assert "stopping: waiting for" in told
        assert [state for (state,) in calls(found, "state", "paid")] == ["answered"] * 2


def test_after_a_kill_nothing_that_was_answered_is_asked_again_and_what_was_in_flight_is_charged(
    tmp_path: Path,
) -> None:
    """Killed three times at moments that differ; the server's own record is what counts."""
    lock, arrived, sent = threading.Lock(), Counter[tuple[str, str]](), Counter[tuple[str, str]]()

    def script(seen: Seen) -> Reply:
        with lock:
            arrived[seen.tier, seen.prompt] += 1
        time.sleep(0.02)
        with lock:
            sent[seen.tier, seen.prompt] += 1
        return answer()

    in_flight = 0
    with bench(tmp_path, script, 60, concurrency=4) as found:
        for moment in (5, 31, 72):
            process = command(found)
            until(lambda moment=moment: sum(arrived.values()) >= moment)  # type: ignore[misc]  # bound at once
            process.kill()
            process.communicate()
            with closing(sqlite3.connect(found.journal)) as journal:
                [(asked,)] = journal.execute("SELECT count(*) FROM calls WHERE state = 'asked'").fetchall()
            assert asked - in_flight <= 8
            in_flight = asked
        board = found.collect()
        assert board.complete
        answered = calls(found, "digest, tier", "state = 'answered'")
        assert len(answered) == len(set(answered)) == 120
        again = sum(arrived.values()) - 120
        assert again <= in_flight  # nothing was asked twice beyond what was in flight at a kill
        assert sum(arrived.values()) <= len(calls(found))
        assert board.charged_usd >= sum(arrived.values()) * BILLED_USD - 1e-12
        lost = [charged for (charged,) in calls(found, "charged_usd", "state = 'asked'")]
        assert lost == [pytest.approx(worst_usd(found), rel=0.01)] * in_flight


# A full disk


def small_disk(monkeypatch: pytest.MonkeyPatch, pages: int, *, after_ballast: int) -> None:
    """A disk with room for so many pages more, and for some once the ballast is given up."""
    from pipeline.collect import journal, writer

    plain_connected, plain_committed = journal.connected, writer.Writer._committed

    def connected(path: Path) -> sqlite3.Connection:
        found = plain_connected(path)
        limit(found, pages if ballast_of(path).exists() else pages + after_ballast)
        return found

    def limit(connection: sqlite3.Connection, room: int) -> None:
        used = full.setdefault("used", connection.execute("PRAGMA page_count").fetchone()[0])
        connection.execute(f"PRAGMA max_page_count = {used + room}")

    def committed(self: Any, connection: sqlite3.Connection, jobs: Any) -> Any:
        full["connection"] = connection
        return plain_committed(self, connection, jobs)

    def gave_up(path: Path, error: sqlite3.Error) -> bool:
        given = plain_gave_up(path, error)
        if given:
            limit(full["connection"], pages + after_ballast)
        return given

    full: dict[str, Any] = {}
    plain_gave_up = writer.gave_up_ballast
    for module in (journal, writer):
        monkeypatch.setattr(module, "connected", connected)
    monkeypatch.setattr(writer.Writer, "_committed", committed)
    monkeypatch.setattr(writer, "gave_up_ballast", gave_up)


def long_answers(_: Seen) -> Reply:
    return answer("long " * 4000)


def test_on_a_full_disk_every_answer_that_arrived_is_kept_and_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bench(tmp_path, long_answers, 100) as found:
        with monkeypatch.context() as patch:
            small_disk(patch, 100, after_ballast=2000)
            board = found.collect()
        assert board.ending == DISK_FULL
        answered = calls(found, "tier", "state = 'answered'")
        assert 0 < len(answered) == len(found.server.seen) < 200
        assert found.collect().complete
        assert len(found.server.seen) == 200


def test_on_a_disk_without_any_room_it_ends_with_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with bench(tmp_path, long_answers, 100) as found, monkeypatch.context() as patch:
        small_disk(patch, 60, after_ballast=0)
        with pytest.raises(StorageError, match=r"tasks\.journal: the journal cannot be used: .*full"):
            found.collect()
        # What was sent and not kept is known as asked, and charged.
        assert len(calls(found, where="state != 'failed'")) >= len(found.server.seen)
