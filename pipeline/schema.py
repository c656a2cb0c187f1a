"""The columns of a trace file: what each may hold, and how a cell of it is read.

Version 1. A new optional column is added to `COLUMNS` alone; a column that changes its meaning gets a new
name, so that files written before keep theirs.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any

import pyarrow as pa

from features.errors import TraceError
from features.request import legible, well_formed

TIERS = ("flash", "pro")
# The models of a practice pair begin so: what comes of them is marked, and never taken for a measurement.
SIMULATED = "simulated-"
LARGEST_PROMPT_BYTES = 8_000_000
LATEST_SECOND = 253_402_300_799  # the last of the year 9999

Cell = Any
Reader = Callable[[Cell], Cell]

TRUE, FALSE, ABSENT = {"1", "true"}, {"0", "false"}, {"", "null", "none"}


class CellError(ValueError):
    """A cell that cannot be read; the reader of the file adds the place."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column's name, its type in memory, and the reader of a cell, which raises CellError with what is wrong."""

    name: str
    arrow: pa.DataType
    read: Reader


def text(cell: Cell) -> str | None:
    """Text; an empty cell is as good as none."""
    if cell is None or isinstance(cell, str):
        return well_formed(cell) if cell else None
    raise CellError("expected text")


def prompt(cell: Cell) -> str | None:
    """The text of a prompt, which may be empty."""
    value = "" if cell == "" else text(cell)
    if value is None:
        return None
    if len(value) > LARGEST_PROMPT_BYTES // 4 and len(value.encode(errors="replace")) > LARGEST_PROMPT_BYTES:
        raise CellError(f"{len(value):,} characters, more than the {LARGEST_PROMPT_BYTES:,} bytes a prompt may have")
    if value and not value.strip("\0"):
        raise CellError("nothing but NUL characters: the file was probably damaged or read with a wrong encoding")
    return legible(value)


def outcome(cell: Cell) -> bool | None:
    """1, 0, true, false, or null for not observed."""
    if cell is None or isinstance(cell, bool):
        return cell
    if isinstance(cell, float) and math.isnan(cell):
        return None
    if isinstance(cell, int | float) and cell in (0, 1):
        return cell == 1
    word = cell.strip().lower() if isinstance(cell, str) else "?"
    if word in ABSENT:
        return None
    if word not in TRUE | FALSE:
        raise CellError("expected 1, 0, true, false or null (not observed)")
    return word in TRUE


def number(cell: Cell) -> float | None:
    """A finite number >= 0."""
    if cell is None or cell == "":
        return None
    if isinstance(cell, bool) or not isinstance(cell, int | float | str):
        raise CellError("expected a number")
    try:
        value = float(cell)
    except (ValueError, OverflowError):
        raise CellError("expected a number") from None
    if not math.isfinite(value) or value < 0:
        raise CellError("expected a finite number, 0 or more")
    return value


def count(cell: Cell) -> int | None:
    """A whole number >= 0."""
    value = number(cell)
    if value is None:
        return None
    if value != int(value) or value >= 2**53:
        raise CellError("expected a whole number below 2**53")
    return int(value)


def attempts(cell: Cell) -> int | None:
    """A whole number >= 1."""
    value = count(cell)
    if value == 0:
        raise CellError("expected 1 or more, for an answer takes an attempt")
    return value


def share(cell: Cell) -> float | None:
    """A number between 0 and 1."""
    value = number(cell)
    if value is not None and value > 1:
        raise CellError("expected a number between 0 and 1")
    return value


def chance(cell: Cell) -> float | None:
    """A probability that something happened which did happen: more than 0."""
    with suppress(CellError):
        value = share(cell)
        if value != 0:
            return value
    raise CellError(
        "expected a number above 0 and at most 1, for the tier was chosen; where it is not known, leave it empty, and "
        "the row counts as traffic only"
    )


def time(cell: Cell) -> datetime | None:
    """ISO 8601, or seconds since 1970 UTC; without a zone it is UTC."""
    if cell is None or cell == "" or cell != cell:  # noqa: PLR0124  # NaN
        return None
    if isinstance(cell, str):
        with suppress(ValueError):
            cell = float(cell)
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        if not 0 <= cell <= LATEST_SECOND:
            raise CellError("expected ISO 8601, or seconds since 1970")
        return datetime.fromtimestamp(cell, UTC)
    said = text(str(cell)) or ""  # which has a complaint of its own
    try:
        value = cell if isinstance(cell, datetime) else datetime.fromisoformat(said)
    except ValueError as error:
        raise CellError("expected ISO 8601, or seconds since 1970") from error
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def tools(cell: Cell) -> str | None:
    """Tool definitions as a JSON list, kept as JSON."""
    if cell is None or cell == "":
        return None
    value = json.loads(cell) if isinstance(cell, str) else cell
    if value is None:
        return None
    if not isinstance(value, list):
        raise CellError("expected a list of tool definitions")
    if not value:
        return None
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def words(cell: Cell) -> list[tuple[str, int]] | None:
    """Word counts: an object of counts, or the words themselves as a list; in CSV as JSON."""
    if cell is None or cell == "":
        return None
    value = json.loads(cell) if isinstance(cell, str) else cell
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return [(word, 1) for word in value]
    pairs = list(value.items()) if isinstance(value, dict) else value
    if not isinstance(pairs, list) or not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
        raise CellError('expected counts, such as {"prove": 1, "that": 2}, or a list of words')
    return [(word_of(word), at_least_one(times)) for word, times in pairs]


def word_of(cell: Cell) -> str:
    if not isinstance(cell, str) or not cell:
        raise CellError("expected words that are text")
    return legible(cell)


def at_least_one(cell: Cell) -> int:
    value = count(cell)
    if not value or value > LARGEST_PROMPT_BYTES:
        raise CellError(f"expected counts from 1 to {LARGEST_PROMPT_BYTES:,}")
    return value


def tier(cell: Cell) -> str | None:
    value = text(cell) or None
    if value not in (None, *TIERS):
        raise CellError("expected flash or pro")
    return value


TEXT, WHOLE, REAL = pa.string(), pa.int64(), pa.float64()
WORDS = pa.map_(pa.string(), pa.int64())

REQUEST_COLUMNS = (
    Column("task_id", TEXT, text),
    Column("time", pa.timestamp("us", "UTC"), time),
    Column("category", TEXT, text),
    Column("group", TEXT, text),
    Column("prompt", TEXT, prompt),
    Column("words", WORDS, words),
    Column("system", TEXT, text),
    Column("tools", TEXT, tools),
    Column("context_bytes", WHOLE, count),
    Column("tool_count", WHOLE, count),
    Column("turn_count", WHOLE, count),
)
TIER_COLUMNS = (
    Column("model", TEXT, text),
    Column("fingerprint", TEXT, text),
    Column("correct", pa.bool_(), outcome),
    Column("input_tokens", WHOLE, count),
    Column("cached_tokens", WHOLE, count),
    Column("output_tokens", WHOLE, count),
    Column("reasoning_tokens", WHOLE, count),
    Column("latency_s", REAL, number),
    Column("cost_usd", REAL, number),
    Column("attempts", WHOLE, attempts),
    Column("confidence", REAL, share),
    Column("label_source", TEXT, text),
)
LOG_COLUMNS = (
    Column("chosen", TEXT, tier),
    Column("served", TEXT, tier),
    Column("propensity", REAL, chance),
    Column("decided_by", TEXT, text),
)
COLUMNS = {
    column.name: column
    for column in (
        *REQUEST_COLUMNS,
        *(Column(f"{name}_{column.name}", column.arrow, column.read) for name in TIERS for column in TIER_COLUMNS),
        *LOG_COLUMNS,
    )
}
OUTCOME_COLUMNS = tuple(f"{name}_correct" for name in TIERS)


@dataclass(frozen=True, slots=True)
class Layout:
    """What a kind of file may hold.

    Attributes:
        columns: by name.
        needed: sets of columns, of each of which a file has one at least.
    """

    columns: Mapping[str, Column]
    needed: tuple[tuple[str, ...], ...]


TRACES = Layout(COLUMNS, (("prompt", "words"), OUTCOME_COLUMNS))


def known_columns(names: Iterable[str], file: str, layout: Layout = TRACES) -> tuple[list[str], list[str]]:
    """Split a file's column names into those of the layout and those nobody knows.

    Raises:
        TraceError: a name that is nearly one of the layout's, or a needed column that is missing.
    """
    names = list(names)
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise TraceError(f"{file}: column '{twice[0]}' stands twice: rename one, or drop it")
    known = [name for name in names if name in layout.columns]
    unknown = [name for name in names if name not in layout.columns]
    for name in unknown:
        if near := nearest(name, layout.columns):
            raise TraceError(f"{file}: column '{name}' looks like '{near}' but is not: rename it, or drop it")
    for either in layout.needed:
        if not set(either) & set(known):
            lacking = " nor ".join(f"'{name}'" for name in either)
            which = "no column" if len(either) == 1 else "neither a column"
            raise TraceError(f"{file}: there is {which} {lacking}; columns: {', '.join(names) or 'none'}")
    return known, unknown


def nearest(name: str, known: Iterable[str] = COLUMNS) -> str | None:
    """The known name that an unknown one was probably meant to be, if any."""
    plain = {re.sub("[^a-z0-9]", "", each): each for each in known}
    found = get_close_matches(re.sub("[^a-z0-9]", "", name.lower()), plain, n=1, cutoff=0.87)
    return plain[found[0]] if found else None
