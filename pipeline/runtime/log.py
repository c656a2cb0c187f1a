"""The decision log: a line per decision, written by a thread of its own, which no request ever waits for."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from features.errors import InputError, StorageError
from features.request import legible
from pipeline.runtime.lines import UncountedError, UnloggableError, Words, counted, line_of
from pipeline.runtime.log_options import LogOptions
from pipeline.runtime.rotation import Files

__all__ = ["DecisionLog", "LogOptions"]

LOGGER = logging.getLogger("tier_router")
MOST_WAITING_BYTES = 64_000_000
# A row costs as little among 16 as among more, and these hold up whoever decides for 1 ms, not for 15.
ROWS_AT_ONCE, BYTES_AT_ONCE = 16, 1_000_000
POLL_S, PAUSE_S, RETRY_S, SAY_S, GRACE_S = 0.1, 0.0005, 1.0, 60.0, 0.5

Item = tuple[dict[str, Any], str, Words]  # row, prompt, and what splits it


class DecisionLog:
    """Rows on their way into files. May be used by any number of threads, and by forked processes.

    A row is in its file within some `POLL_S` (0.1 s) of `put`; a process that is killed, or that ends without its exit
    handlers, as multiprocessing's do, loses those that are not, and no other. What is in the open file is finished by
    the next log that starts in the folder. While the disk is full or the folder gone, rows wait, at most `most_waiting`
    and 64 MB of prompts.

    Attributes:
        written: rows in files.
        dropped: rows that are in none: too many waited, the log was closed, or a value was no plain one.
        failed: of those written, rows whose words could not be counted.
    """

    def __init__(self, options: LogOptions) -> None:
        self.options = options
        self.written = self.dropped = self.failed = 0
        self._files = Files(
            options.folder, options.form, options.rotate_bytes, options.rotate_seconds, options.keep
        )  # fmt: skip
        self._closed, self._give_up_at = True, 0.0
        self._empty()

    def start(self) -> None:
        """Make the folder, finish what dead processes left in it, and begin to take rows.

        Raises:
            InputError: an option is out of its range, or the folder cannot be made or written.
        """
        self.options.check()
        try:
            self.options.folder.mkdir(parents=True, exist_ok=True)
            self._files.try_out()
        except OSError as error:
            raise InputError(
                f"{self.options.folder} cannot hold the decision log: {error.strerror or error}: choose another folder"
            ) from error
        if self.options.form == "parquet":
            import pipeline.schema  # noqa: F401  # now, for loading it would hold up decisions later
        self._files.recover()
        self._closed = False
        me = weakref.ref(self)

        def begin_anew() -> None:
            if (log := me()) is not None:
                log._begin_anew()  # noqa: SLF001  # it is this class

        os.register_at_fork(after_in_child=begin_anew)

    def put(self, row: dict[str, Any], prompt: str, words: Words) -> None:
        """Leave a row to the log. Never waits and never raises; a row that finds no room is dropped and counted.

        Args:
            row: plain values by column; it is the log's from now on.
            prompt: what was decided on.
            words: splits prompts into words; called by the log's own thread.
        """
        if self.options.text == "none":
            prompt = ""
        size = sys.getsizeof(prompt)
        with self._lock:  # for a moment only, nobody does any work under it
            waiting = self._waiting
            if self._closed or len(waiting) >= self.options.most_waiting or self._bytes + size > MOST_WAITING_BYTES:
                self.dropped += 1
                return
            waiting.append((row, prompt, words))
            self._bytes += size
            if self._thread is None:
                self._begin()

    @property
    def trouble(self) -> str:
        """What keeps rows from being written, or written in full; "" where nothing does. No prompt's text is in it."""
        return self._storage_trouble or self._row_trouble

    def close(self, timeout: float = 5.0) -> None:
        """Write what waits and finish the file; after `timeout` seconds without success it is given up."""
        with self._lock:
            self._give_up_at = time.monotonic() + timeout
            self._closed = True
            if self._waiting and self._thread is None:
                self._begin()
            thread = self._thread
        self._closing.set()
        if thread is not None:
            thread.join(timeout + GRACE_S)

    def _empty(self) -> None:
        self._waiting: deque[Item] = deque()
        self._bytes = 0
        # Re-entrant, for a signal's handler may decide, and log it, while its thread is in here.
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._lines, self._rows = b"", 0  # in the thread's hands
        self._storage_trouble = self._row_trouble = ""
        self._again_at = self._say_at = 0.0
        self._said = (0, 0)

    def _begin_anew(self) -> None:
        """In a forked process: what waits, and the open file, are the parent's."""
        self._files.forget()
        self.written = self.dropped = self.failed = 0
        self._empty()

    def _begin(self) -> None:
        self._thread = threading.Thread(target=self._run, name="tier-router log", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no thread can be had: the next row tries again
            self._thread = None

    def _run(self) -> None:
        try:
            while self._step():
                pass
        finally:
            # Where this is not the end, threading says what went wrong, and the next row begins another thread.
            with self._lock:  # at once, so that whoever sees these rows dropped can begin another
                self.dropped += self._rows
                self._lines, self._rows, self._thread = b"", 0, None

    def _step(self) -> bool:
        """Write a batch, or wait for one; False once all is done."""
        closing, over = self._closed, False
        try:
            if not self._lines:
                self._take()
            if self._lines:
                self._files.append(self._lines)
                self.written += self._rows
                self._lines, self._rows = b"", 0
            over = closing and not self._waiting
            if over or (self._files.due and time.monotonic() >= self._again_at):
                self._files.finish()
        except (OSError, StorageError) as error:
            return self._wait_out(error)
        if self._storage_trouble and not self._files.due:
            LOGGER.warning("%s: decisions are logged again", self.options.folder)
            self._storage_trouble = ""
        self._say()
        # Rows are split into words faster if more than a few are taken at once. Between batches the interpreter is left
        # to whoever decides, who would else get it back every 5 ms only.
        few = len(self._waiting) < ROWS_AT_ONCE and self._bytes < BYTES_AT_ONCE
        self._closing.wait(POLL_S if few else PAUSE_S)
        return not over

    def _take(self) -> None:
        """Take the next rows in hand, as lines."""
        batch: list[Item] = []
        size = 0
        while self._waiting and len(batch) < ROWS_AT_ONCE and size < BYTES_AT_ONCE:
            batch.append(self._waiting.popleft())
            size += sys.getsizeof(batch[-1][1])
        if not batch:
            return
        with self._lock:
            self._bytes = self._bytes - size if self._waiting else 0
        self._rows, self._row_trouble = len(batch), ""
        if self.options.text == "counts":
            for words, items in groupby(batch, itemgetter(2)):
                self._count(list(items), words)
        made = [line for row, prompt, _ in batch if (line := self._line(row, prompt))]
        self._drop(len(batch) - len(made))
        self._lines, self._rows = b"".join(made), len(made)

    def _count(self, items: Sequence[Item], words: Words) -> None:
        """Put the words of prompts into their rows: of all together, which is quicker, or one by one if that fails."""
        try:
            counts = counted([prompt for _, prompt, _ in items], words)
        except UncountedError as error:
            if len(items) > 1:
                for item in items:
                    self._count([item], words)
                return
            self.failed += 1
            self._row_trouble = str(error)
            return
        for (row, _, _), found in zip(items, counts, strict=True):
            row["words"] = found

    def _line(self, row: dict[str, Any], prompt: str) -> bytes:
        """A row as a line of JSON; empty where it cannot be one."""
        if self.options.text == "prompt":
            row["prompt"] = legible(prompt)
        try:
            return line_of(row, self.options.form)
        except UnloggableError as error:
            self._row_trouble = str(error)
            return b""

    def _wait_out(self, error: OSError | StorageError) -> bool:
        """After a failure: wait until the next attempt; False if none is left."""
        if not self._storage_trouble:
            LOGGER.error("%s: decisions cannot be logged, and wait: %s", self.options.folder, error)
        self._storage_trouble = str(error)
        self._say()
        closed = self._closed  # before its deadline is read, which `close` sets first
        left = self._give_up_at - time.monotonic()
        if closed and left <= 0:
            self._files.forget()
            self._drop(len(self._waiting))
            self._waiting.clear()
            return False
        self._again_at = time.monotonic() + RETRY_S
        if closed:
            time.sleep(min(RETRY_S, left))
        elif self._lines or not self._waiting:
            self._closing.wait(RETRY_S)
        return True

    def _drop(self, rows: int) -> None:
        with self._lock:
            self.dropped += rows

    def _say(self) -> None:
        """Say how many rows were lost, at most once in `SAY_S`."""
        counts = self.dropped, self.failed
        if counts != self._said and time.monotonic() >= self._say_at:
            self._said, self._say_at = counts, time.monotonic() + SAY_S
            LOGGER.warning(
                "%s: so far %d decisions were dropped, and %d were logged without the words of their prompts",
                self.options.folder, *counts,
            )  # fmt: skip
