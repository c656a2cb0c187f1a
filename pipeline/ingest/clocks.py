"""Clocks that cannot be right: rows of the future are refused, others are named; and logs that have ended."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np

from features.bags import Ints
from features.errors import TraceError
from pipeline.ingest.joined import Joined
from pipeline.ingest.once import numbers
from pipeline.ingest.spill import FILE, Rows
from pipeline.ingest.statements import NEVER, Statements

AHEAD = timedelta(days=1)
BACK = timedelta(days=1)
EARLY = timedelta(hours=1)
FAR = timedelta(days=366)
DAY = timedelta(days=1)
NEWEST_DAYS = 31.0
MICROSECOND = timedelta(microseconds=1)


def check(rows: Rows, said: Statements, now: datetime) -> None:
    """Refuse what is of the future.

    Args:
        rows: of the logs.
        said: of their outcomes.
        now: as it is known here.

    Raises:
        TraceError: a time is more than a day ahead; names the file and the row.
    """
    latest = microseconds(now + AHEAD)
    for times, where in ((numbers(rows.keys["time"]), rows.place), (said.time, said.where)):
        if (ahead := np.flatnonzero(times > latest)).size:
            first = int(ahead[0])
            raise TraceError(
                f"{where(first)}, field 'time': {written(times[first])} is to come, and so are the times of "
                f"{len(ahead):,} rows; here it is {now:%Y-%m-%d %H:%M} UTC: set the clock right, and mend the times"
            )


def doubts(rows: Rows, times: Ints, said: Statements, joined: Joined) -> Iterator[str]:
    """Sentences on clocks that jump or run backwards.

    Args:
        rows: of the logs.
        times: int64[M], of the decisions, in microseconds since 1970.
        said: of their outcomes.
        joined: whose outcomes they are.
    """
    logged, file = numbers(rows.keys["time"]), numbers(rows.keys[FILE])
    back = np.flatnonzero((np.diff(logged) < -(BACK // MICROSECOND)) & (np.diff(file) == 0))
    if back.size:
        first = int(back[0])
        yield (
            f"{rows.place(first + 1)}: the time jumps back by more than a day, from {written(logged[first])} to "
            f"{written(logged[first + 1])}; this happens {len(back):,} times in the logs: was a clock set?"
        )
    usual = _medians(logged, file)
    far = np.flatnonzero(np.abs(logged - usual) > FAR // MICROSECOND)
    if far.size:
        first = int(far[0])
        yield (
            f"{rows.place(first)}: the time {written(logged[first])} is more than a year from what is usual in its "
            f"file, {written(usual[first])}; this is so of {len(far):,} rows, which are used all the same: was a clock "
            "wrong?"
        )
    known = (joined.decision >= 0) & (said.time != NEVER)
    decided = times[joined.decision] if len(times) else said.time
    early = np.flatnonzero(known & (said.time < decided - EARLY // MICROSECOND))
    if early.size:
        first = int(early[0])
        yield (
            f"{said.where(first)}: the outcome was known at {written(said.time[first])}, more than an hour before the "
            f"decision of {written(decided[first])}; this is so of {len(early):,} outcomes, which are used all the "
            "same: was a clock wrong?"
        )


def _medians(values: Ints, groups: Ints) -> Ints:
    """The lower median of each value's group, int64[N]."""
    _, codes, counts = np.unique(groups, return_inverse=True, return_counts=True)
    ordered = values[np.lexsort((values, codes))]
    return np.asarray(ordered[np.cumsum(counts) - counts + (counts - 1) // 2][codes])


def ended(last: datetime, newest_days: float, now: datetime) -> Iterator[str]:
    """A sentence on logs whose newest decision is too old to say anything of today.

    Args:
        last: time of the newest decision.
        newest_days: after which it is.
        now: as it is known here.
    """
    days = (now - last) / DAY
    if days > newest_days:
        yield (
            f"the newest decision is {days:.0f} days old, of {last:%Y-%m-%d %H:%M} UTC: is logging still on, and do "
            "'logs' name where it goes?"
        )


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // MICROSECOND


def utc(moment: datetime) -> np.datetime64:
    """A moment as the times of traces are, datetime64[us] in UTC."""
    return np.datetime64(microseconds(moment), "us")


def written(moment: int) -> str:
    """Microseconds since 1970 as text."""
    return f"{datetime(1970, 1, 1, tzinfo=UTC) + int(moment) * MICROSECOND:%Y-%m-%d %H:%M:%S}"
