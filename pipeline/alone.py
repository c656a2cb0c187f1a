"""A file that is read, changed and written again by one command at a time."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from features.errors import StorageError

LONGEST_WAIT_S, LOOK_AGAIN_S = 10.0, 0.1
PRIVATE = 0o600


@contextmanager
def alone(path: Path, wait_s: float = LONGEST_WAIT_S, *, busy: str = "") -> Iterator[None]:
    """Have a file alone, over all processes of a machine, by an empty hidden file beside it that is locked.

    Args:
        path: of the file, which need not exist; its folder is made.
        wait_s: >= 0, seconds to wait for another command.
        busy: what is complained of where that keeps it; "": that it does, with the path.

    Raises:
        StorageError: another command has it and keeps it, or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, PRIVATE)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error
    waited = f" for {wait_s:g} s" if wait_s else ""
    busy = busy or f"{path}: another command is at work on it{waited}: wait for it, and give yours again"
    try:
        try:
            acquire(lock, wait_s, busy)
        except OSError as error:
            raise StorageError(f"{path} cannot be locked: {error.strerror or error}") from error
        yield
    finally:
        os.close(lock)


def acquire(lock: int, wait_s: float, busy: str) -> None:
    """Wait for the lock of an open file.

    Args:
        lock: descriptor of the file.
        wait_s: >= 0, seconds to wait.
        busy: what is complained of after them.

    Raises:
        StorageError: somebody else keeps it.
        OSError: the file system has no locks, or fails.
    """
    last = time.monotonic() + wait_s
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > last:
                raise StorageError(busy) from None
            time.sleep(LOOK_AGAIN_S)
