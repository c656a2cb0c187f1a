"""The journal's file: what may be one, who may write it, what happens when it cannot be written."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from scripted import task, task_file

from features.errors import InputError, StorageError
from pipeline.collect.journal import Journal, existing, opened
from pipeline.collect.storage import APPLICATION, VERSION, ballast_of
from pipeline.collect.tasks import Task, read

WAIT_SECONDS = 30
HOLD = """
import sys
from pathlib import Path
from pipeline.collect.journal import opened
with opened(Path(sys.argv[1])):
    print("open", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.journal"


def some_tasks(folder: Path, count: int) -> list[Task]:
    return list(read([task_file(folder, count)]))


def ask(journal: Journal, digest: str, tier: str, outcome: dict[str, object] | None) -> None:
    """A call, with its end if it has one."""

    async def run() -> None:
        await journal.asking(digest, tier, 1, 0.5)
        if outcome:
            await journal.settle(digest, tier, 1, outcome)

    with journal.writer.working():
        asyncio.run(run())


ANSWERED = {"state": "answered", "charged_usd": 0.25, "cost_usd": 0.25, "paid": True, "reply": "{}"}
FAILED = {"state": "failed", "charged_usd": 0.0, "paid": False, "cause": "HTTP 503"}


def test_a_second_process_is_refused_until_the_first_is_gone(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == "open\n"
        with pytest.raises(InputError, match="at work on this journal: wait for it, or give --journal"), opened(path):
            pass
        with existing(path) as journal:  # reading is for anyone
            assert journal.rows("SELECT * FROM tasks") == []
        other.kill()  # which leaves the lock file, and no lock
        other.communicate(timeout=WAIT_SECONDS)
    with opened(path):
        pass


def test_a_journal_is_for_its_owner_alone(path: Path) -> None:
    with opened(path):
        pass
    assert path.stat().st_mode & 0o077 == 0


def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    with opened(tmp_path / "new" / "folder" / "a.journal"):
        pass


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "a.journal", tmp_path):
        with pytest.raises(StorageError, match=r"cannot be (written|used)"), opened(path):
            pass


@pytest.mark.parametrize(
    "content", [b"{'prompt': 'a task file'}\n" * 100, os.urandom(5000), b"SQLite format 3\0" + b"x" * 5000]
)
def test_a_file_that_is_no_journal_is_refused_and_left_as_it_was(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises((InputError, StorageError), match=r"tasks\.journal: "), opened(path):
        pass
    assert path.read_bytes() == content


def test_another_programs_database_is_refused_and_left_as_it_was(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE facts (name)")
    before = path.read_bytes()
    for way in (opened, existing):
        with pytest.raises(InputError, match="not a journal of tier-router: give --journal another path"), way(path):
            pass
    assert path.read_bytes() == before


def test_a_journal_of_a_newer_version_is_refused(path: Path) -> None:
    with opened(path):
        pass
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA user_version = {VERSION + 1}")
    said = f"a journal of version {VERSION + 1}; this tier-router reads version {VERSION}"
    with pytest.raises(InputError, match=said), opened(path):
        pass


def test_a_journal_says_what_it_is(path: Path) -> None:
    with opened(path) as journal:
        assert journal.one("PRAGMA application_id") == APPLICATION
        assert journal.one("PRAGMA journal_mode") == "wal"
        assert journal.one("PRAGMA synchronous") == 2  # FULL


def test_a_journal_that_is_not_there_is_not_made_by_reading(path: Path) -> None:
    with pytest.raises(InputError, match="there is no such journal: 'tier-router collect' makes one"), existing(path):
        pass
    assert not path.exists()


@pytest.mark.parametrize("error", [None, InputError("of the caller's")])
def test_the_ballast_is_gone_afterwards(path: Path, error: InputError | None) -> None:
    def work() -> None:
        with opened(path):
            assert ballast_of(path).exists()
            if error:
                raise error

    if error:
        with pytest.raises(InputError):
            work()
    else:
        work()
    assert not ballast_of(path).exists()


def test_tasks_are_taken_up_as_a_whole_or_not_at_all(tmp_path: Path, path: Path) -> None:
    tasks = some_tasks(tmp_path, 3)

    def broken():  # a generator of tasks that ends badly
        yield from tasks
        raise InputError("a bad line")

    with opened(path) as journal:
        with pytest.raises(InputError, match="a bad line"):
            journal.take_up(broken())
        assert journal.one("SELECT count(*) FROM tasks") == 0
        assert journal.take_up(tasks) == 1
        assert journal.take_up(tasks) == 2


def test_pending_is_what_some_tier_has_not_answered_in_the_order_of_the_tasks(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.collect.journal.PAGE", 2)
    tasks = some_tasks(tmp_path, 5)
    with opened(path) as journal:
        run = journal.take_up(tasks)
        for tier in ("flash", "pro"):
            ask(journal, tasks[1].digest, tier, ANSWERED)
        ask(journal, tasks[2].digest, "flash", FAILED)
        ask(journal, tasks[3].digest, "pro", ANSWERED)
        ask(journal, tasks[4].digest, "pro", None)
        found = [(each.digest, each.attempts) for each in journal.pending(run, ("flash", "pro"), 0.0)]
    assert found == [
        (tasks[0].digest, {"flash": 0, "pro": 0}), (tasks[2].digest, {"flash": 1, "pro": 0}),
        (tasks[3].digest, {"flash": 0}), (tasks[4].digest, {"flash": 0, "pro": 1}),
    ]  # fmt: skip


def test_tasks_of_an_earlier_file_are_not_pending(tmp_path: Path, path: Path) -> None:
    with opened(path) as journal:
        journal.take_up(some_tasks(tmp_path, 5))
        run = journal.take_up(read([task_file(tmp_path, [task("task-3")])]))
        assert len(list(journal.pending(run, ("flash",), 0.0))) == 1


def test_what_was_asked_is_charged_until_it_is_known(tmp_path: Path, path: Path) -> None:
    with opened(path) as journal:
        for number, outcome in enumerate((None, ANSWERED, FAILED)):
            ask(journal, str(number), "flash", outcome)
        assert journal.charged[0] == 0.75


def test_a_second_answer_to_the_same_request_is_impossible(tmp_path: Path, path: Path) -> None:
    with opened(path) as journal:
        ask(journal, "a", "flash", ANSWERED)

        async def again() -> None:
            await journal.asking("a", "flash", 2, 0.5)
            await journal.settle("a", "flash", 2, ANSWERED)

        with journal.writer.working(), pytest.raises(StorageError, match="UNIQUE"):
            asyncio.run(again())


def test_what_was_left_to_the_writer_is_on_disk_at_the_end(path: Path) -> None:
    async def many(journal: Journal) -> None:
        await asyncio.gather(*(journal.asking(str(at), "flash", 1, 0.0) for at in range(2000)))

    with opened(path) as journal:
        with journal.writer.working():
            asyncio.run(many(journal))
        assert journal.one("SELECT count(*) FROM calls") == 2000


def test_a_write_that_nobody_waits_for_any_more_is_written(path: Path) -> None:
    async def given_up(journal: Journal) -> None:
        waiting = asyncio.create_task(journal.asking("a", "flash", 1, 0.0))
        await asyncio.sleep(0)
        waiting.cancel()

    with opened(path) as journal:
        with journal.writer.working():
            asyncio.run(given_up(journal))
        assert journal.one("SELECT count(*) FROM calls") == 1


@pytest.mark.parametrize("value", [None, 5, "text", [1, {"a": 0.5}], {"flash": {"body": {}}}])
def test_facts_come_back_as_they_were(path: Path, value: object) -> None:
    with opened(path) as journal:
        assert journal.fact("name") is None
        journal.state("name", value)
        assert journal.fact("name") == value


def test_no_room_for_a_journal_is_said_before_anything_is_asked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.collect.storage.ballast_of", lambda _: Path("/dev/full"))
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)  # of /dev/full
    said = "no room for a journal: No space left on device; nothing was asked"
    with pytest.raises(StorageError, match=said), opened(path):
        pass
