"""The journal's file: its tables, its lock, and the room that is kept for answers on their way. Version 1.

To change the tables, raise `VERSION`, convert on opening, and say in the changelog what is converted.
"""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from features.errors import InputError, StorageError

VERSION = 1
APPLICATION = 0x54524A31  # "TRJ1" in the file's header
BUSY_SECONDS = 30.0
# Given up when the disk is full, so that the answers that are on their way can still be written.
BALLAST_BYTES = 8_000_000
NO_ROOM = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
STRANGE = "not a journal of tier-router: give --journal another path"

TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE requests (
    digest TEXT PRIMARY KEY,    -- of what is asked
    asked TEXT NOT NULL,        -- JSON; word counts and sizes once texts were removed
    run INTEGER,                -- the last run whose tasks ask it; NULL for what the judge is asked
    position INTEGER,           -- among the tasks of that run
    erased INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX requests_of_run ON requests (run, position);
CREATE TABLE tasks (
    id TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    category TEXT NOT NULL,
    task_group TEXT NOT NULL,
    grader TEXT,                -- JSON; NULL once texts were removed
    run INTEGER NOT NULL,       -- the last run that had it in its files
    position INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE calls (
    digest TEXT NOT NULL,
    tier TEXT NOT NULL,         -- flash, pro or judge
    attempt INTEGER NOT NULL,   -- from 1
    state TEXT NOT NULL,        -- asked, answered, failed
    charged_usd REAL NOT NULL,  -- against the budget: the most it can cost until it is known
    cost_usd REAL,              -- by its usage and the price table; NULL where not known
    asked_at REAL NOT NULL,     -- seconds since 1970
    latency_s REAL,
    cause TEXT,                 -- of a failure
    paid INTEGER,               -- whether it was, or may have been, paid for
    model TEXT, fingerprint TEXT, confidence REAL,
    input_tokens INTEGER, cached_tokens INTEGER, output_tokens INTEGER, reasoning_tokens INTEGER,
    reply TEXT,                 -- the whole body, as it came; NULL once texts were removed
    PRIMARY KEY (digest, tier, attempt)
) WITHOUT ROWID;
CREATE UNIQUE INDEX one_answer ON calls (digest, tier) WHERE state = 'answered';
CREATE TABLE grades (
    task TEXT NOT NULL,
    tier TEXT NOT NULL,
    source TEXT NOT NULL,       -- the grader's kind, or human
    digest TEXT NOT NULL,       -- of the request that was answered
    attempt INTEGER NOT NULL,
    grader TEXT NOT NULL,       -- digest of the grader
    correct INTEGER,            -- NULL: could not be graded
    reason TEXT NOT NULL,
    PRIMARY KEY (task, tier, source)
) WITHOUT ROWID;
"""


@contextmanager
def locked(path: Path, *, ballast: bool) -> Iterator[None]:
    """Have the journal's file alone, over all processes; it is made where there is none.

    Args:
        path: without links.
        ballast: make it, so that there is something to give up.

    Raises:
        InputError: another process has it.
        StorageError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f"{path.name}-lock").open("w")
        path.touch(mode=0o600)  # it holds prompts
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"{path}: another tier-router command is at work on this journal: wait for it, or give --journal"
            ) from None
        if ballast:
            _make_ballast(path)
        try:
            yield
        finally:
            ballast_of(path).unlink(missing_ok=True)


def connected(path: Path) -> sqlite3.Connection:
    """A connection to a journal's file; its tables are made where it is empty.

    Raises:
        InputError: not a journal of this version.
        StorageError: it cannot be used.
    """
    try:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        connection.row_factory = sqlite3.Row
        with ExitStack() as stack:
            stack.callback(connection.close)
            _prepare(connection, path)
            stack.pop_all()
    except sqlite3.Error as error:
        raise unusable(path, error) from error
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    [[application]] = connection.execute("PRAGMA application_id").fetchall()
    [[version]] = connection.execute("PRAGMA user_version").fetchall()
    [[tables]] = connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
    if tables and application != APPLICATION:
        raise InputError(f"{path}: {STRANGE}")
    if tables and version != VERSION:
        raise InputError(f"{path}: a journal of version {version}; this tier-router reads version {VERSION}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # an answer that was paid for outlives a power cut
    if not tables:
        connection.executescript(
            f"BEGIN IMMEDIATE; {TABLES} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT;"
        )


def ballast_of(path: Path) -> Path:
    """The file that is given up on a full disk."""
    return path.with_name(f"{path.name}-ballast")


def _make_ballast(path: Path) -> None:
    try:
        with ballast_of(path).open("wb") as file:
            file.write(bytes(BALLAST_BYTES))
    except OSError as error:
        ballast_of(path).unlink(missing_ok=True)
        raise StorageError(f"{path}: no room for a journal: {error.strerror}; nothing was asked now") from error


def gave_up_ballast(path: Path, error: sqlite3.Error) -> bool:
    """Make room where an error says that there is none; only once."""
    if error.sqlite_errorcode & 0xFF not in NO_ROOM or not ballast_of(path).exists():
        return False
    with suppress(OSError):
        ballast_of(path).unlink()
        return True
    return False


def unusable(path: Path, error: sqlite3.Error) -> InputError | StorageError:
    """What an error of SQLite means for the user."""
    if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
        return InputError(f"{path}: {STRANGE}")
    return StorageError(f"{path}: the journal cannot be used: {error}")
