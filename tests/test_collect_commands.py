"""collect, grade and label as they are given on the command line, and what they say."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from scripted import KEY_VARIABLE, Bench, Reply, Seen, answer, bench, completion, error, says, task

from pipeline import cli
from pipeline.collect import progress
from pipeline.collect.board import Board, Score

WAIT_SECONDS = 60
HEAVY = (
    "numpy", "pandas", "pyarrow", "pydantic", "httpx", "httpcore", "stamina", "jsonschema", "rich", "starlette",
    "uvicorn", "sqlite3", "asyncio", "mlflow", "sklearn",
)  # fmt: skip
LIGHT = """
import sys
from pipeline import cli
sys.argv = ["tier-router", *sys.argv[1:]]
try:
    cli.main()
except SystemExit as end:
    assert not end.code
print(*sys.modules, file=sys.stderr)
"""
Said = tuple[int, str, str]


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Said]]:
    """Give a command within this process: its exit code, standard output and standard error."""
    before = signal.getsignal(signal.SIGTERM)

    def give(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["tier-router", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    yield give
    signal.signal(signal.SIGTERM, before)


def always(_: Seen) -> Reply:
    return answer()


def arguments(found: Bench, *more: object) -> tuple[object, ...]:
    return ("collect", found.tasks, "--config", found.config, *more)


def made(found: Bench) -> set[str]:
    return {path.name for path in found.folder.iterdir()} - {found.tasks.name, found.config.name}


@contextmanager
def collected(folder: Path, say: Callable[..., Said], **more: Any) -> Iterator[Bench]:
    with bench(folder, more.pop("script", always), more.pop("tasks", 2), **more) as found:
        assert say(*arguments(found, "--budget", 1))[0] == 0
        yield found


# Help


@pytest.mark.parametrize("command", ["collect", "grade", "label", "simulate"])
def test_help_loads_no_heavy_library(command: str, project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, command, "--help"],
        cwd=project, capture_output=True, text=True, check=True, timeout=WAIT_SECONDS,
    )  # fmt: skip
    assert f"tier-router {command} [OPTIONS]" in done.stdout
    assert not set(HEAVY) & set(done.stderr.split())


# collect


def test_collect_asks_grades_and_says_what_comes_next(tmp_path: Path, say: Callable[..., Said]) -> None:
    with bench(tmp_path, always, 3) as found:
        code, out, err = say(*arguments(found, "--budget", 1))
    assert code == 0, err
    assert "flash: 3 of 3 answered (3 now), 0 given up, 0 not asked; 0.0001 USD now" in out
    assert "0.0002 USD of 1.00 USD spent" in out
    assert "pro: 3 right of 3 (100.0%), 0 could not be graded" in out
    assert f"next: tier-router label {found.journal} {tmp_path / 'tasks.parquet'}" in out


def test_the_summary_names_every_failure_by_cause(tmp_path: Path, say: Callable[..., Said]) -> None:
    def script(seen: Seen) -> Reply:
        replies = {
            "task-0": error(400, "too long"), "task-1": Reply(b"<html>"), "task-2": Reply(raw=b""),
            "task-3": says(completion(usage=None)), "task-4": answer(model="another"),
        }  # fmt: skip
        return next((reply for name, reply in replies.items() if name in seen.prompt), answer())

    with bench(tmp_path, script, 6) as found:
        code, out, _ = say(*arguments(found, "--budget", 1))
    assert code == 3
    for cause in ("HTTP 400", "malformed body", "closed without a reply"):
        assert out.count(f"1 try failed: {cause}, 1 given up after it") == 2
    assert "too long" in out
    assert out.count("1 answered with doubtful usage, charged as the most it may have cost or in full: no usage") == 2
    assert out.count("answered by more than one model: scripted (2), another (1)") == 2
    assert "not all is answered: the same command goes on" in out


def test_a_used_up_budget_leaves_with_3_and_the_same_command_with_more_goes_on(
    tmp_path: Path, say: Callable[..., Said]
) -> None:
    with bench(tmp_path, always, 10) as found:
        code, out, _ = say(*arguments(found, "--budget", 0.003))
        assert code == 3
        assert "the budget has no room for a task that may cost up to" in out
        asked = len(found.server.seen)
        assert 0 < asked < 20
        assert say(*arguments(found, "--budget", 1))[0] == 0
        assert len(found.server.seen) == 20


def test_json_is_all_there_is_on_standard_output(tmp_path: Path, say: Callable[..., Said]) -> None:
    with bench(tmp_path, lambda seen: error(400) if seen.tier == "pro" else answer(), 2) as found:
        code, out, _ = say(*arguments(found, "--budget", 1, "--json"))
    said = json.loads(out)
    assert code == 3
    assert said["journal"] == str(found.journal)
    assert said["grades"]["flash"]["right"] == 2
    assert said["grades"]["pro"]["missing"] == 2
    assert said["asked"]["flash"] | {"spent_usd": 0} == {
        "total": 2, "answered": 2, "now": 2, "retried": 0, "given_up": 0, "not_asked": 0, "spent_usd": 0,
        "failures": {}, "doubts": {}, "models": {"scripted": 2},
    }  # fmt: skip
    assert said["asked"]["pro"]["failures"] == {"HTTP 400": 2}


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ((), "--budget is missing: give the most USD that may be spent; --dry-run says what to expect"),
        (("--budget", "-1"), "--budget -1.0: expected USD, 0 or more"),
        (("--budget", "nan"), "--budget nan: expected USD"),
        (("--budget", "inf"), "--budget inf: expected USD"),
        (("--budget", "much"), "'much' is not a valid float"),
    ],
)
def test_without_a_budget_nothing_is_begun(
    tmp_path: Path, say: Callable[..., Said], more: tuple[str, ...], complaint: str
) -> None:
    with bench(tmp_path, always) as found:
        code, _, err = say(*arguments(found, *more))
        assert code == 2
        assert complaint in err
        assert made(found) == set()
        assert found.server.seen == []


def test_a_budget_of_nothing_asks_nothing(tmp_path: Path, say: Callable[..., Said]) -> None:
    with bench(tmp_path, always) as found:
        assert say(*arguments(found, "--budget", 0))[0] == 3
        assert found.server.seen == []


@pytest.mark.parametrize("name", ["nowhere.jsonl", "."])
def test_a_task_file_that_is_not_there_leaves_no_journal(tmp_path: Path, say: Callable[..., Said], name: str) -> None:
    with bench(tmp_path, always) as found:
        code, _, err = say("collect", tmp_path / name, "--config", found.config, "--budget", 1)
        assert code == 2
        assert "nowhere.jsonl' does not exist" in err or "is a directory" in err
        assert made(found) == set()


def test_an_endpoint_that_cannot_work_leaves_with_2_and_the_remedy(tmp_path: Path, say: Callable[..., Said]) -> None:
    with bench(tmp_path, lambda _: error(402), 50) as found:
        code, _, err = say(*arguments(found, "--budget", 1))
    assert code == 2
    assert "the balance is used up: add funds, then give the same command again" in err


@pytest.mark.parametrize("known", [False, True])
def test_a_dry_run_asks_nothing_and_changes_nothing(tmp_path: Path, say: Callable[..., Said], known: bool) -> None:
    with bench(tmp_path, always, 4, key_env=KEY_VARIABLE) as found:  # whose key is not set
        if known:
            found.config.write_text(found.config.read_text().replace(f'key_env = "{KEY_VARIABLE}"\n', ""))
            assert not found.collect(0.0027).complete
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        asked = len(found.server.seen)
        code, out, err = say(*arguments(found, "--dry-run"))
        assert code == 0, err
        assert "nothing was asked" in out
        assert len(found.server.seen) == asked
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
        code, out, _ = say(*arguments(found, "--dry-run", "--json"))
        forecast = json.loads(out)
        assert forecast["flash"]["calls"] + forecast["pro"]["calls"] == 8 - asked
        assert forecast["flash"]["worst_usd"] > forecast["flash"]["cost_usd"] > 0
        assert forecast["pro"]["output_known"] == ("journal" if known else "assumed")


def test_two_tasks_that_ask_the_same_are_counted_once_in_a_dry_run(tmp_path: Path, say: Callable[..., Said]) -> None:
    with bench(tmp_path, always, [task("one", prompt="What?"), task("two", prompt="What?")]) as found:
        assert json.loads(say(*arguments(found, "--dry-run", "--json"))[1])["pro"]["calls"] == 1


def test_a_judge_is_asked_by_the_same_command(tmp_path: Path, say: Callable[..., Said]) -> None:
    script = lambda seen: answer('{"winner": "tie"}' if seen.tier == "judge" else seen.tier)  # noqa: E731
    rows = [task("one", grader={"kind": "judge", "rubric": "Right?"})]
    with bench(tmp_path, script, rows, judge={}) as found:
        code, out, err = say(*arguments(found, "--budget", 1))
        assert code == 0, err
        assert "judge: 2 of 2 answered" in out
        assert "flash: 1 right of 1" in out
        assert "judge: " not in say("grade", found.journal, "--config", found.config, "--budget", 1)[1]
        assert len(found.server.seen) == 4


def test_no_judge_is_asked_after_a_run_that_was_ended(tmp_path: Path, say: Callable[..., Said]) -> None:
    def script(seen: Seen) -> Reply:
        return error(503, retry_after="3600") if "two" in seen.prompt else answer(seen.tier)

    rows = [task(name, grader={"kind": "judge", "rubric": "Right?"}) for name in ("one", "two")]
    with bench(tmp_path, script, rows, judge={}, concurrency=1) as found:
        assert say(*arguments(found, "--budget", 1))[0] == 3
        assert all(seen.tier != "judge" for seen in found.server.seen)


# grade


def test_grade_says_the_same_as_collect_did(tmp_path: Path, say: Callable[..., Said]) -> None:
    with collected(tmp_path, say) as found:
        code, out, _ = say("grade", found.journal)
        assert code == 0
        assert "flash: 2 right of 2 (100.0%), 0 could not be graded" in out
        grades = json.loads(say("grade", found.journal, "--json")[1])["grades"]
        assert grades["flash"]["right"] == 2


def test_labels_count_after_any_grading_that_follows(tmp_path: Path, say: Callable[..., Said]) -> None:
    people, rows = tmp_path / "people.csv", [task("one", grader={"kind": "human"})]
    with collected(tmp_path, say, tasks=rows) as found:
        _, out, err = say("grade", found.journal, "--for-people", people)
        assert "1 could not be graded" in out
        assert f"{people}: 2 answers to label" in err
        people.write_text("task_id,tier,correct\none,flash,1\none,pro,0\n", encoding="utf-8")
        _, out, err = say("grade", found.journal, "--labels", people)
        assert f"{people}: 2 labels" in err
        assert "flash: 1 right of 1 (100.0%), 0 could not be graded, 1 labelled by people" in out
        assert "pro: 0 right of 1 (0.0%)" in say("grade", found.journal)[1]
        assert say(*arguments(found, "--budget", 1))[0] == 0  # which grades too
        assert "flash: 1 right of 1 (100.0%)" in say("grade", found.journal)[1]


def test_a_refused_label_leaves_with_2_and_all_as_it_was(tmp_path: Path, say: Callable[..., Said]) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("task_id,tier,correct\ntask-0,flash,0\nnobody,pro,1\n", encoding="utf-8")
    with collected(tmp_path, say) as found:
        code, _, err = say("grade", found.journal, "--labels", labels)
        assert code == 2
        assert "labels.csv, row 3: the journal has no answer of pro to task 'nobody'" in err
        assert "flash: 2 right of 2" in say("grade", found.journal)[1]


@pytest.mark.parametrize("command", [("grade",), ("label", "out.parquet")])
def test_a_journal_that_is_not_there_is_named_and_not_made(
    tmp_path: Path, say: Callable[..., Said], command: tuple[str, ...]
) -> None:
    path = tmp_path / "nowhere.journal"
    code, _, err = say(command[0], path, *(tmp_path / name for name in command[1:]))
    assert code == 2
    assert "nowhere.journal: there is no such journal: 'tier-router collect' makes one" in err
    assert list(tmp_path.iterdir()) == []


# label


def test_label_writes_traces_and_says_how_to_train(tmp_path: Path, say: Callable[..., Said]) -> None:
    target = tmp_path / "out.parquet"
    with collected(tmp_path, say) as found:
        code, out, _ = say("label", found.journal, target)
        assert code == 0
        assert f"{target}: 2 traces; next: make train TRACES={target}" in out
        said = json.loads(say("label", found.journal, target, "--json")[1])
        assert (said["path"], said["traces"], said["grades"]["pro"]["right"]) == (str(target), 2, 2)


def test_texts_are_removed_only_after_a_yes(
    tmp_path: Path, say: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.parquet"
    with collected(tmp_path, say) as found:
        monkeypatch.setattr(sys, "stdin", StringIO("n\n"))
        code, out, err = say("label", found.journal, target, "--no-text")
        assert code != 0
        assert "Remove all prompts and answers" in out + err
        assert not target.exists()
        assert b"What is task-0?" in found.journal.read_bytes()
        assert say("label", found.journal, target, "--no-text", "--yes")[0] == 0
        assert b"What is task-0?" not in found.journal.read_bytes()


# Progress

BOARD = {
    "flash": Score(total=4000, before=1000, done=1500, in_flight=16, retried=7, failed=2, spent_usd=0.0123),
    "pro": Score(total=4000, done=3),
}


def test_a_line_of_progress_has_every_number_of_each_tier() -> None:
    said = progress.line(Board(BOARD, 5.0, 1.25))
    for part in (
        "flash: 2,500 of 4,000 done, 16 in flight, 7 retried, 2 failed",
        "0.0123 USD spent",
        "pro: 3 of 4,000",
    ):
        assert part in said
    assert "1.25 USD of 5.00 USD spent" in said


def test_a_table_of_progress_has_every_number_of_each_tier() -> None:
    console = Console(file=StringIO(), width=120)
    console.print(progress.table(Board(BOARD, 5.0, 1.25, ending="interrupted")))
    said = console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    for part in ("2,500 of 4,000", "time left", "0.0123 USD", "1.25 USD of 5.00 USD spent", "interrupted"):
        assert part in said


def test_time_left_follows_from_the_rate() -> None:
    score = Score(total=500)
    for at in range(100):
        score.answered("m", now=time.monotonic() - 30 + at / 10)
    assert progress.cells(score)[-1] != "-"


def test_without_a_terminal_there_is_a_plain_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.01)
    with progress.shown(Board(BOARD, 5.0)) as tell:
        tell("in [between]")
        deadline, said = time.monotonic() + WAIT_SECONDS, ""
        while "flash: 2,500 of 4,000 done" not in said:
            assert time.monotonic() < deadline
            said += capsys.readouterr().err
    assert "in [between]" in said
    assert "\x1b" not in said
