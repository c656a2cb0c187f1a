"""The files of a decision log: what exists under its final name is complete.

`decisions-TIME-PID-NUMBER.jsonl` (or `.parquet`) is written as `.decisions-TIME-PID-NUMBER.jsonl.open`, of whole JSON
lines, for its owner alone, under a lock that ends with its process. Whoever starts a log in the folder finishes what
dead processes left.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from features.errors import StorageError
from pipeline.beside import PRIVATE, flush, replacing
from pipeline.runtime.parquet_file import UnreadableLinesError, convert

LOGGER = logging.getLogger("tier_router")
OPEN, DAMAGED = ".open", ".damaged"
FINISHED = re.compile(r"decisions-(\d{8}T\d{6}Z)-(\d+)-(\d+)\.(jsonl|parquet)")
BLOCK_BYTES = 1_000_000


class Files:
    """The files of one process in the folder of a log, one of them open at a time. For one thread.

    Args:
        folder: that exists.
        form: "jsonl" or "parquet".
        most_bytes: > 0, a file of so many bytes of JSON is finished.
        most_seconds: > 0, a file begun so long ago is finished.
        keep: >= 1, finished files of the form that stay in the folder, the newest ones; None: all.
    """

    def __init__(self, folder: Path, form: str, most_bytes: int, most_seconds: float, keep: int | None) -> None:
        self.folder = folder
        self.form = form
        self.most_bytes = most_bytes
        self.most_seconds = most_seconds
        self.keep = keep
        self._number = 0
        self._handle: int | None = None
        self._path = folder
        self._size = 0  # of what was wholly written
        self._begun = 0.0

    def try_out(self) -> None:
        """Raise OSError if no file can be written in the folder."""
        self._begin()
        self._path.unlink()
        self.forget()

    def recover(self) -> None:
        """Finish the files of dead processes; those that cannot be finished stay, and are named in a warning."""
        for path in sorted(self.folder.glob(f".decisions-*{OPEN}")):
            try:
                _take_over(path)
            except (OSError, StorageError) as error:
                LOGGER.warning("%s stays unfinished: %s", path, error)

    def append(self, lines: bytes) -> None:
        """Write whole lines.

        Raises:
            OSError: nothing of them counts as written.
        """
        if self._handle is not None and not _is_same(self._path, self._handle):
            LOGGER.warning("%s is gone, and %d bytes of decisions with it", self._path, self._size)
            self.forget()
        handle = self._begin() if self._handle is None else self._handle
        done = 0
        try:
            while done < len(lines):
                done += os.pwrite(handle, lines[done:], self._size + done)
        except OSError:
            os.ftruncate(handle, self._size)
            raise
        self._size += done

    @property
    def due(self) -> bool:
        """Whether the open file is to be finished."""
        if self._handle is None:
            return False
        return self._size >= self.most_bytes or time.monotonic() - self._begun >= self.most_seconds

    def finish(self) -> None:
        """Finish the open file, if there is one, and remove the oldest of those that are too many.

        Raises:
            OSError, StorageError: it stays open.
        """
        if self._handle is None:
            return
        if _is_same(self._path, self._handle):
            _finish(self._path, self._handle, self._size)
        self.forget()
        if self.keep is not None:
            for path in self.finished()[: -self.keep]:
                path.unlink(missing_ok=True)

    def finished(self) -> list[Path]:
        """The finished files of the form, oldest first, whichever process wrote them."""
        named = [(FINISHED.fullmatch(path.name), path) for path in self.folder.glob(f"decisions-*.{self.form}")]
        return [path for _, _, path in sorted((match[1], int(match[3]), path) for match, path in named if match)]

    def forget(self) -> None:
        """Let go of the open file as it is; a forked process does so, for it is its parent's."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def _begin(self) -> int:
        """Make the next file and lock it."""
        while True:
            self._number += 1
            name = f"decisions-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}-{self._number}.{self.form}"
            path = self.folder / f".{name}{OPEN}"
            try:
                handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, PRIVATE)
            except FileExistsError:  # in containers that share a folder, many a process has the same id
                continue
            with suppress(OSError):  # without locks there is nobody who would take it over either
                fcntl.flock(handle, fcntl.LOCK_EX)
            if not (self.folder / name).exists() and _is_same(path, handle):
                self._handle, self._path, self._size, self._begun = handle, path, 0, time.monotonic()
                return handle
            path.unlink(missing_ok=True)
            os.close(handle)


def _take_over(path: Path) -> None:
    """Finish a file, unless its process lives or another one was faster."""
    with suppress(FileNotFoundError, BlockingIOError), path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_same(path, file.fileno()):
            _finish(path, file.fileno(), _whole_lines(file.fileno()))


def _finish(path: Path, handle: int, size: int) -> None:
    """Give an open file of `size` bytes of whole lines its form and its final name."""
    os.ftruncate(handle, size)
    final = path.with_name(path.name.removeprefix(".").removesuffix(OPEN))
    if not size:
        path.unlink()
        return
    os.fsync(handle)
    if final.suffix == ".jsonl":
        path.rename(final)
    else:
        _finish_parquet(path, final)
    flush(path.parent)


def _finish_parquet(path: Path, final: Path) -> None:
    try:
        with replacing(final, PRIVATE) as partial:
            convert(path, partial)
    except UnreadableLinesError as error:
        aside = path.with_suffix(DAMAGED)
        path.rename(aside)
        LOGGER.error("%s cannot be made into Parquet and is set aside: %s", aside, error)  # noqa: TRY400  # where it was raised tells nothing
    else:
        path.unlink()


def _is_same(path: Path, handle: int) -> bool:
    """Whether a path still leads to an open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _whole_lines(handle: int) -> int:
    """Bytes up to the end of the last whole line. Where a machine lost power there may be NULs, which JSON has not."""
    whole = at = 0
    while block := os.pread(handle, BLOCK_BYTES, at):
        good, nul, _ = block.partition(b"\0")
        if (last := good.rfind(b"\n")) >= 0:
            whole = at + last + 1
        at += len(block)
        if nul:
            break
    return whole
