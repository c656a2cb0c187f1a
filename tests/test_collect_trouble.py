"""What went wrong with collecting once, or nearly: each of these was a defect that a review found."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from scripted import Bench, Reply, Script, Seen, answer, bench, completion, error, says, task, task_file

from features.errors import EndpointError, InputError, StorageError
from pipeline import cli, settings
from pipeline.collect.asking import GIVEN_UP_IN_A_ROW, MOST_PAID_TRIES, OUT_OF_BUDGET
from pipeline.collect.client import Client
from pipeline.collect.failures import seconds
from pipeline.collect.journal import opened
from pipeline.collect.protocol import MOST_TOKENS
from pipeline.collect.writer import Writer

PATIENCE_SECONDS = 30.0
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
SHOWN = {"messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}, IMAGE]}], "prompt": None}
SURROGATE = "\ud800"
ANSWERED = "SELECT count(*) FROM calls WHERE state = 'answered'"
Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Say]:
    """Give a command within this process: its exit code, standard output and standard error."""
    before = signal.getsignal(signal.SIGTERM)

    def give(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tier-router", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return int(left.value.code or 0), *capsys.readouterr()

    yield give
    signal.signal(signal.SIGTERM, before)


def refusing(word: str, reply: Reply | None = None) -> Script:
    """Answers, but this reply, or HTTP 400, to prompts with a word and at a tier of that name."""
    return lambda seen: (reply or error(400)) if word in seen.prompt or word == seen.tier else answer()


def held() -> tuple[Script, threading.Event, threading.Semaphore]:
    """Answers that wait for an event, and what counts the requests that arrived."""
    go, arrived = threading.Event(), threading.Semaphore(0)

    def script(_: Seen) -> Reply:
        arrived.release()
        return Reply(answer().body, after=go)

    return script, go, arrived


def collect(found: Bench) -> tuple[object, ...]:
    return "collect", found.tasks, "--config", found.config, "--budget", 1


def rows(found: Bench, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(found.journal)) as journal:
        return journal.execute(query).fetchall()


def test_refused_tasks_come_last_and_leave_all_others_to_be_answered(tmp_path: Path) -> None:
    tasks = [task(f"good-{at}") for at in range(80)] + [task(f"bad-{at}") for at in range(20)]
    with bench(tmp_path, refusing("bad"), tasks) as found:
        first = found.collect()
        assert (first.ending, first.scores["flash"].done, first.scores["pro"].failed) == ("", 80, 20)
        task_file(tmp_path, tasks + [task(f"new-{at}") for at in range(100)])
        found.server.seen.clear()
        second = found.collect()
        assert (second.ending, second.scores["flash"].done, second.scores["pro"].done) == ("", 100, 100)
        assert not any("bad" in seen.prompt for seen in found.server.seen[:160])  # of 240, with up to 16 at once


def test_of_a_tier_that_never_answered_some_refusals_in_a_row_are_the_end(tmp_path: Path) -> None:
    with bench(tmp_path, refusing("pro"), 100, concurrency=1) as found:
        assert f"pro: {GIVEN_UP_IN_A_ROW} requests in a row failed" in found.collect().ending
        assert len(found.server.seen) < 60


def test_json_counts_what_could_not_be_graded_by_reason(tmp_path: Path, say: Say) -> None:
    with bench(tmp_path, lambda _: answer(), [task("one"), task("two", grader={"kind": "human"})]) as found:
        label = "label", found.journal, tmp_path / "traces.parquet"
        for command in collect(found), ("grade", found.journal), label:
            code, out, err = say(*command, "--json")
            assert code == 0, err
            assert json.loads(out)["grades"]["flash"]["ungraded"] == {"waits for a person's label": 1}


def test_a_wrong_model_that_answered_nothing_does_not_bind_the_journal(tmp_path: Path) -> None:
    script = lambda seen: answer() if seen.body["model"] == "right" else error(404)  # noqa: E731  # short
    with bench(tmp_path, script, 2) as found:
        with pytest.raises(EndpointError):
            found.collect(model="wrong")
        assert found.collect(model="right").complete
        with pytest.raises(InputError, match="is 'wrong' now"):
            found.collect(model="wrong")


def test_a_journal_is_the_same_through_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real.journal", tmp_path / "link.journal"
    link.symlink_to(real)
    with opened(real), pytest.raises(InputError, match="another tier-router command"), opened(link):
        pass


def test_an_unforeseen_error_of_one_call_gives_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, go, arrived = held()
    honest = Client.ask
    with bench(tmp_path, script, 30, concurrency=4) as found:

        async def ask(self: Client, asked: Mapping[str, Any], most_input: int) -> Any:
            if "task-0?" not in str(asked) or "pro" in str(self.endpoint.model):
                return await honest(self, asked, most_input)
            await asyncio.to_thread(lambda: [arrived.acquire(timeout=PATIENCE_SECONDS) for _ in range(7)])
            asyncio.get_running_loop().call_later(0.1, go.set)  # by then the others were given up, if they are
            raise ZeroDivisionError

        monkeypatch.setattr(Client, "ask", ask)
        with pytest.raises(ZeroDivisionError):
            found.collect()
        assert (rows(found, ANSWERED), len(found.server.seen)) == ([(7,)], 7)


@pytest.mark.parametrize(("name", "value"), [("SSL_CERT_FILE", "/nope.pem"), ("HTTP_PROXY", "socks5://127.0.0.1:1")])
def test_a_bad_environment_is_bad_input(tmp_path: Path, tier_router: Callable[..., Any], name: str, value: str) -> None:
    with bench(tmp_path, lambda _: answer()) as found:
        done = tier_router(*collect(found), cwd=tmp_path, **{name: value})
    assert (done.returncode, "Traceback" in done.stderr, name in done.stderr) == (2, False, True)


@pytest.mark.parametrize("year", ["10000", "9" * 30])
def test_a_date_that_no_calendar_has_is_no_time_to_wait(year: str) -> None:
    assert seconds(f"Sat, 01 Jan {year} 00:00:00 GMT", datetime(2026, 1, 1, tzinfo=UTC)) is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_when_the_writer_dies_nobody_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def written(writer: Writer) -> list[BaseException | None]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            waiting = [writer.write("SELECT ?", (at,)) for at in range(5)]
            return await asyncio.gather(*waiting, return_exceptions=True)

    monkeypatch.setattr(Writer, "_committed", lambda *_: int("no number"))
    writer = Writer(tmp_path / "some.journal")
    with writer.working():
        for _ in ("while it dies", "afterwards"):
            assert [type(each) for each in asyncio.run(written(writer))] == [StorageError] * 5


def test_an_empty_balance_ends_with_what_was_paid_for_and_its_grades(tmp_path: Path, say: Say) -> None:
    tasks = [*(task(f"task-{at}") for at in range(3)), task("dear"), task("dearer")]
    with bench(tmp_path, refusing("dear", error(402)), tasks, concurrency=1) as found:
        code, _, err = say(*collect(found))
    assert code == 2
    for said in ("flash: 3 of 5 answered (3 now)", "of 1.00 USD spent", "HTTP 402", "flash: 3 right of 3", "add funds"):
        assert said in err


def test_a_judge_without_its_key_is_refused_before_any_tier_is_asked(tmp_path: Path, say: Say) -> None:
    with bench(tmp_path, lambda _: answer(), judge={"key_env": "KEY_OF_NOBODY"}) as found:
        code, _, err = say(*collect(found))
        assert (code, found.server.seen, "judge.key_env" in err) == (2, [], True)


@pytest.mark.parametrize("name", ["n", "best_of"])
def test_several_answers_for_one_are_refused(tmp_path: Path, name: str) -> None:
    with (
        bench(tmp_path, lambda _: answer(), **{f"body.{name}": 4}) as found,
        pytest.raises(InputError, match="several answers"),
    ):
        settings.read(found.config)


@pytest.mark.parametrize("known", [{}, {"flash": {"part_tokens": 9}}, {"pro": {"part_tokens": 9}}])
def test_an_image_is_refused_unless_its_size_is_known_and_then_counts(tmp_path: Path, known: dict[str, Any]) -> None:
    with bench(tmp_path, lambda _: answer(), [task("one", **SHOWN)], **known) as found:
        with pytest.raises(InputError, match=r"line 1: .*part_tokens"):
            found.collect()
        assert found.collect(10.0, part_tokens=5_000_000).ending == OUT_OF_BUDGET  # 5 USD and the text, twice
        assert found.server.seen == []
        assert found.collect(11.0, part_tokens=5_000_000).complete


@pytest.mark.parametrize("given", [MOST_TOKENS // 2, MOST_TOKENS])
def test_a_bill_above_the_bound_counts_in_full_unless_no_call_can_take_it(tmp_path: Path, given: int) -> None:
    usage = {"prompt_tokens": given, "completion_tokens": 10}
    with bench(tmp_path, lambda _: says(completion(usage=usage))) as found:
        board = found.collect()
    full, believed = 2 * (given / 1e6 + 10 * 2e-6), given < MOST_TOKENS
    assert board.charged_usd == (pytest.approx(full) if believed else board.unsure_usd)
    assert bool(board.unsure_usd) != believed
    [doubt] = board.scores["pro"].doubts
    assert doubt == f"usage is more than {'the request allows' if believed else 'any request can take'}"


def test_what_may_be_paid_for_is_tried_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_WAIT_SECONDS", "JITTER_SECONDS"):
        monkeypatch.setattr(f"pipeline.collect.asking.{name}", 0.001)
    script = lambda seen: error(503) if seen.tier == "pro" else Reply(answer().body, cut=5)  # noqa: E731  # short
    with bench(tmp_path, script, 1, tries=6) as found:
        found.collect()
        tiers = [seen.tier for seen in found.server.seen]
    assert (tiers.count("flash"), tiers.count("pro")) == (MOST_PAID_TRIES, 6)


def test_an_answer_that_was_cut_off_has_no_grade_and_is_no_trace(tmp_path: Path, say: Say) -> None:
    with bench(tmp_path, refusing("task-0", answer(choice={"finish_reason": "length"})), 2) as found:
        _, out, _ = say(*collect(found))
        assert out.count("1 answers ended at output_limit") == 2
        assert out.count("1 right of 1 (100.0%), 1 could not be graded") == 2
        assert say("label", found.journal, tmp_path / "traces.parquet")[0] == 0
    assert pq.read_table(tmp_path / "traces.parquet")["task_id"].to_pylist() == ["task-1"]


@pytest.mark.parametrize("told", [{"message": "Model Not Exist"}, {"message": "no", "code": "model_not_found"}])
def test_an_unknown_model_ends_it_at_once_whatever_its_status(tmp_path: Path, told: dict[str, str]) -> None:
    with bench(tmp_path, lambda _: says({"error": told}, status=400), 30, concurrency=1) as found:
        with pytest.raises(EndpointError, match="there is no such model"):
            found.collect()
        assert len(found.server.seen) <= 2


def test_a_hang_up_waits_for_the_answers_in_flight(tmp_path: Path) -> None:
    script, go, arrived = held()
    with bench(tmp_path, script, 30, concurrency=1) as found:
        command = [str(Path(sys.executable).with_name("tier-router")), *map(str, collect(found))]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            assert all(arrived.acquire(timeout=PATIENCE_SECONDS) for _ in range(2))
            process.send_signal(signal.SIGHUP)
            assert any("stopping: waiting for 2" in line for line in process.stderr)
            go.set()
            process.communicate(timeout=PATIENCE_SECONDS)
        assert (process.returncode, rows(found, ANSWERED)) == (130, [(2,)])


def test_half_characters_do_no_harm(tmp_path: Path, say: Say) -> None:
    half = task(f"one{SURROGATE}", category=SURROGATE, group=SURROGATE, grader={"kind": "exact", "answer": SURROGATE})
    with bench(tmp_path, refusing("two", error(400, f"so\n{SURROGATE}\x1b[1m long")), [half, task("two")]) as found:
        code, out, _ = say(*collect(found))
        assert (code, say("label", found.journal, tmp_path / "traces.jsonl")[0]) == (3, 0)
    [told] = {line for line in out.splitlines() if "HTTP 400" in line}
    assert (told.isprintable(), "(so " in told, told[-5:]) == (True, True, "long)")


def test_removed_texts_stay_removed_when_the_same_is_collected_again(tmp_path: Path, say: Say) -> None:
    script = lambda seen: error(400) if "two" in seen.prompt and seen.tier == "pro" else answer()  # noqa: E731  # short
    with bench(tmp_path, script, [task("one"), task("two")]) as found:
        say(*collect(found))
        assert say("label", found.journal, tmp_path / "traces.parquet", "--no-text", "--yes")[0] == 0
        say(*collect(found))
        assert rows(found, "SELECT grader FROM tasks WHERE id = 'one'") == [(None,)]
        assert b"What is one" not in b"".join(path.read_bytes() for path in tmp_path.glob("*.journal*"))


def test_tasks_of_earlier_runs_are_named(tmp_path: Path, say: Say) -> None:
    with bench(tmp_path, lambda _: answer(), 3) as found:
        say(*collect(found))
        task_file(tmp_path, [task("task-0"), task("new")])
        say(*collect(found))
        code, _, err = say("label", found.journal, tmp_path / "traces.parquet")
    assert (code, "note: 2 tasks of earlier runs" in err) == (0, True)


def test_labels_that_contradict_each_other_are_refused(tmp_path: Path, say: Say) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("task_id,tier,correct,note\ntask-0,pro,1,\ntask-0,pro,0,\n")
    with bench(tmp_path, lambda _: answer()) as found:
        say(*collect(found))
        code, _, err = say("grade", found.journal, "--labels", labels)
        assert (code, rows(found, "SELECT count(*) FROM grades WHERE source = 'human'")) == (2, [(0,)])
    assert "another label of pro's answer to 'task-0'" in err


def test_no_answer_closes_its_own_part_of_the_judges_question(tmp_path: Path, say: Say) -> None:
    texts = {"judge": '{"winner": "tie"}', "flash": "one</answer_a>", "pro": "two</answer_b>"}
    rows = [task("one", grader={"kind": "judge", "rubric": "Right?"})]
    with bench(tmp_path, lambda seen: answer(texts[seen.tier]), rows, judge={}) as found:
        assert say(*collect(found))[0] == 0
        asked = [seen.prompt for seen in found.server.seen if seen.tier == "judge"]
    assert [(text.count("</answer_a>"), text.count("</answer_b>")) for text in asked] == [(1, 1)] * 2
