"""The journal: what was asked, what came of it, what it cost. What is in it is never asked again.

One SQLite file in WAL mode. A call is written down before it is sent, with the most that it can cost, and once more
when its answer is there, before any other work on it goes on. So whatever kills the collector, a journal knows every
call that may have been paid for, and holds every answer that arrived.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from features.errors import InputError, StorageError
from pipeline.collect.storage import connected, locked, unusable
from pipeline.collect.tasks import Task
from pipeline.collect.writer import Writer

PAGE = 500  # requests read at once
REMOVED = "texts were removed"  # in place of a grade's reason
# A text that was removed comes back only where it has to be asked.
TAKE_REQUEST = """
INSERT INTO requests (digest, asked, run, position) VALUES (?, ?, ?, ?)
ON CONFLICT (digest) DO UPDATE SET
    position = excluded.position,
    run = excluded.run,
    (asked, erased) = (
        SELECT CASE WHEN erased AND count(*) = 2 THEN requests.asked ELSE excluded.asked END, erased AND count(*) = 2
        FROM calls WHERE calls.digest = requests.digest AND state = 'answered'
    )
WHERE requests.run IS NOT excluded.run
"""

REFUSED = """
SELECT count(*) FROM calls WHERE digest = ? AND state = 'failed' AND asked_at < ?
    AND cause IN ('HTTP 400', 'HTTP 403', 'HTTP 413', 'HTTP 415', 'HTTP 422', 'HTTP 451')
"""
# A grader comes back no more than the text that it would grade.
TAKE_TASK = """
INSERT OR REPLACE INTO tasks (id, digest, category, task_group, grader, run, position)
SELECT ?, ?, ?, ?, CASE WHEN (SELECT erased FROM requests WHERE digest = ?) THEN NULL ELSE ? END, ?, ?
"""

OUTCOME = (
    "state", "charged_usd", "cost_usd", "latency_s", "cause", "paid", "model", "fingerprint", "confidence",
    "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "reply",
)  # fmt: skip

Row = sqlite3.Row


@dataclass(frozen=True, slots=True)
class Pending:
    """A request that some tier has not answered.

    Attributes:
        digest: of what is asked.
        asked: JSON.
        position: among the tasks of the run.
        attempts: how often each tier that has not answered was asked, by tier.
        refused: whether an endpoint refused it, rather than failed.
    """

    digest: str
    asked: str
    position: int
    attempts: dict[str, int]
    refused: bool


class Journal:
    """An open journal. Reading is for anyone; writing needs the lock that `opened` takes."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.writer = Writer(path)
        self._connection = connection

    def rows(self, query: str, *values: Any) -> list[Row]:
        """The rows of a query."""
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise unusable(self.path, error) from error

    def one(self, query: str, *values: Any) -> Any:
        """The single value of a query."""
        return self.rows(query, *values)[0][0]

    def wrote(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement for each of the rows, all of them or none.

        Raises:
            StorageError: nothing was written.
        """
        try:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany(statement, rows)
        except sqlite3.Error as error:
            raise unusable(self.path, error) from error

    # Tasks

    def take_up(self, tasks: Iterable[Task]) -> int:
        """Write down the tasks of a new run: all of them, or none if one is refused.

        Returns:
            The number of the run, from 1.
        """
        run = 1 + int(self.one("SELECT coalesce(max(run), 0) FROM tasks"))
        try:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                for position, task in enumerate(tasks):
                    self._take(task, run, position)
        except sqlite3.Error as error:
            raise unusable(self.path, error) from error
        return run

    def _take(self, task: Task, run: int, position: int) -> None:
        self._connection.execute(TAKE_REQUEST, (task.digest, task.asked, run, position))
        names = task.id, task.digest, task.category, task.group
        self._connection.execute(TAKE_TASK, (*names, task.digest, task.grader, run, position))

    def pending(self, run: int, tiers: Sequence[str], before: float) -> Iterator[Pending]:
        """The requests of a run that some of the tiers have not answered, in the order of the tasks.

        Args:
            run: its number.
            tiers: that are wanted.
            before: seconds since 1970; refusals after that do not count as such.
        """
        position = -1
        while page := self.rows(
            "SELECT digest, asked, position FROM requests WHERE run = ? AND position > ? ORDER BY position LIMIT ?",
            run, position, PAGE,
        ):  # fmt: skip
            for row in page:
                attempts = self.unanswered(row["digest"], tiers)
                if attempts:
                    refused = bool(self.one(REFUSED, row["digest"], before))
                    yield Pending(row["digest"], row["asked"], row["position"], attempts, refused)
            position = page[-1]["position"]

    def unanswered(self, digest: str, tiers: Sequence[str]) -> dict[str, int]:
        """How often each tier that has not answered a request was asked it, by tier."""
        calls = self.rows("SELECT tier, state, attempt FROM calls WHERE digest = ?", digest)
        answered = {row["tier"] for row in calls if row["state"] == "answered"}
        return {
            tier: max((row["attempt"] for row in calls if row["tier"] == tier), default=0)
            for tier in tiers
            if tier not in answered
        }

    # Calls

    @property
    def charged(self) -> tuple[float, float]:
        """USD that count against a budget, and those of them that are the most that a call may have cost."""
        [row] = self.rows("SELECT total(charged_usd), total(charged_usd) FILTER (WHERE cost_usd IS NULL) FROM calls")
        return row[0], row[1]

    async def asking(self, digest: str, tier: str, attempt: int, worst_usd: float) -> None:
        """Write down a call that is about to be sent; returns once it is on disk."""
        await self.writer.write(
            "INSERT INTO calls (digest, tier, attempt, state, charged_usd, asked_at) VALUES (?, ?, ?, 'asked', ?, ?)",
            (digest, tier, attempt, worst_usd, time.time()),
        )

    async def settle(self, digest: str, tier: str, attempt: int, outcome: Mapping[str, Any]) -> None:
        """Write down what came of a call; returns once it is on disk.

        Args:
            digest: of what was asked.
            tier: which was asked.
            attempt: of it.
            outcome: by the columns of `OUTCOME`; those left out are NULL.
        """
        values = tuple(outcome.get(name) for name in OUTCOME)
        await self.writer.write(
            f"UPDATE calls SET {', '.join(f'{name} = ?' for name in OUTCOME)}"  # noqa: S608  # names of ours
            " WHERE digest = ? AND tier = ? AND attempt = ?",
            (*values, digest, tier, attempt),
        )

    def erase(self, kept: Mapping[str, str]) -> None:
        """Remove every text: prompts, replies, graders, also from the file's free pages.

        Args:
            kept: JSON to keep in place of what a task asks, by the task's id.

        Raises:
            StorageError: nothing was removed, or not yet from the free pages: do it again.
        """
        digests = {row["id"]: row["digest"] for row in self.rows("SELECT id, digest FROM tasks")}
        try:
            with self._connection:
                self._connection.execute("PRAGMA secure_delete = ON")
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.execute("UPDATE requests SET asked = '{}', erased = 1 WHERE NOT erased")
                self._connection.execute("UPDATE calls SET reply = NULL")
                self._connection.execute("UPDATE tasks SET grader = NULL")
                self._connection.execute("UPDATE grades SET reason = ?", (REMOVED,))  # it may quote an answer
                self._connection.executemany(
                    "UPDATE requests SET asked = ? WHERE digest = ?",
                    ((text, digests[task]) for task, text in kept.items()),
                )
            self._connection.execute("VACUUM")
            [[busy, *_]] = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            raise unusable(self.path, error) from error
        if busy:
            raise StorageError(f"{self.path}: another command reads it, so texts are left beside it: do it again")

    # Facts

    def fact(self, name: str) -> Any:
        """A fact as JSON has it; None where it is not known."""
        found = self.rows("SELECT value FROM facts WHERE name = ?", name)
        return json.loads(found[0]["value"]) if found else None

    def state(self, name: str, value: Any) -> None:
        """Write down a fact."""
        self.wrote("INSERT OR REPLACE INTO facts VALUES (?, ?)", [(name, json.dumps(value))])


@contextmanager
def opened(path: Path, *, ballast: bool = True) -> Iterator[Journal]:
    """Open a journal to write to it, and make it if there is none. Only one at a time, over all processes.

    Args:
        path: of its file; one path through links is as good as another.
        ballast: keep room on the disk, so that what is paid for can be written.

    Raises:
        InputError: another process has it, or it is not a journal of this version.
        StorageError: it cannot be written.
    """
    path = path.resolve()
    with locked(path, ballast=ballast), closing(connected(path)) as connection:
        yield Journal(path, connection)


@contextmanager
def existing(path: Path) -> Iterator[Journal]:
    """Open a journal to read it, also while a collector is at work on it.

    Raises:
        InputError: there is none, or it is not one of this version.
    """
    path = path.resolve()
    if not path.is_file() or not path.stat().st_size:
        raise InputError(f"{path}: there is no such journal: 'tier-router collect' makes one")
    with closing(connected(path)) as connection:
        yield Journal(path, connection)
