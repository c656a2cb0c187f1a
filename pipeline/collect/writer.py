"""The one that writes to the journal while calls are made: many small writes, put into few transactions."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from features.errors import StorageError, TierRouterError
from pipeline.collect.storage import connected, gave_up_ballast, unusable

WRITES_AT_ONCE = 512


class Writer:
    """A thread with a connection of its own.

    Args:
        path: of the journal, whose lock has to be held.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cramped = False  # whether the disk was full
        self._ended = False
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()

    @contextmanager
    def working(self) -> Iterator[None]:
        """While this is open, writes are done; at the end all that was left to it is on disk."""
        self._ended = False
        thread = threading.Thread(target=self._work, name="journal", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._jobs.put(None)
            thread.join()

    async def write(self, statement: str, values: tuple[Any, ...]) -> None:
        """Leave a write to the thread; returns once it is on disk, and is done also where nobody waits for it any more.

        Raises:
            StorageError: it was not written.
        """
        if self._ended:
            raise self._over
        loop = asyncio.get_running_loop()
        job = _Job(statement, values, loop, loop.create_future())
        self._jobs.put(job)
        if self._ended:  # perhaps after it looked for the last time
            job.finish(self._over)
        await asyncio.shield(job.done)

    @property
    def _over(self) -> StorageError:
        return StorageError(f"{self.path}: the journal's writer ended")

    def _work(self) -> None:
        jobs: list[_Job] = []
        try:
            with closing(connected(self.path)) as connection:
                while jobs := self._waiting():
                    failure = self._committed(connection, jobs)
                    for job in jobs:
                        job.finish(failure)
        finally:
            # Whatever ended it, nobody may wait for it in vain.
            self._ended = True
            while not self._jobs.empty():
                jobs += filter(None, [self._jobs.get()])
            for job in jobs:
                job.finish(self._over)

    def _waiting(self) -> list[_Job]:
        """What there is to write, at least one; empty at the end."""
        jobs = []
        job = self._jobs.get()
        while job is not None:
            jobs.append(job)
            if self._jobs.empty() or len(jobs) == WRITES_AT_ONCE:
                return jobs
            job = self._jobs.get()
        if jobs:
            self._jobs.put(None)
        return jobs

    def _committed(self, connection: sqlite3.Connection, jobs: list[_Job]) -> TierRouterError | None:
        for _ in range(2):
            try:
                with connection:
                    connection.execute("BEGIN IMMEDIATE")
                    for job in jobs:
                        connection.execute(job.statement, job.values)
            except sqlite3.Error as error:
                failure = unusable(self.path, error)
                if not gave_up_ballast(self.path, error):
                    break
                self.cramped = True
            else:
                return None
        return failure


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    statement: str
    values: tuple[Any, ...]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[None]

    def finish(self, failure: TierRouterError | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more, but the next ones are to be written
            self.loop.call_soon_threadsafe(self._finish, failure)

    def _finish(self, failure: TierRouterError | None) -> None:
        if self.done.done():
            return
        if failure:
            self.done.set_exception(failure)
        else:
            self.done.set_result(None)
