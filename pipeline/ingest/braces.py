"""Word counts at the end of JSON lines, `..."words":{"a":2,"b":1}}`, read for many lines at once.

A log's line is mostly word counts, and a parser of JSON takes most of its time to make an object of each. Where no word
is escaped, every quotation mark begins or ends a word and the counts stand between: then the bytes of all lines are
looked at together. What does not look so is left to `json`.
"""

from __future__ import annotations

import json
from itertools import accumulate

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.bags import Ints
from pipeline.schema import TEXT, WORDS

BEGIN, END = b'"words":{', b"}}"
QUOTE, COLON, COMMA, ZERO = b'":,0'
FIRST_PRINTABLE = 32
# No word stands more often in a prompt than the largest one has bytes.
MOST_DIGITS = 7


class NotPlainError(ValueError):
    """Lines that are to be read cell by cell."""


def cut(lines: list[bytes]) -> tuple[list[bytes], pa.MapArray | None]:
    """The lines without their word counts, and the counts; None where no line has any in braces.

    Raises:
        NotPlainError: the counts cannot be found in a line for certain.
    """
    parts = [line.rpartition(BEGIN) for line in lines]
    has = np.array([bool(found) for _, found, _ in parts], np.bool_)
    if not has.any():
        return lines, None
    insides = [after.removesuffix(END) for _, found, after in parts if found]
    if any(found and not after.endswith(END) for _, found, after in parts):
        raise NotPlainError
    counts = _maps(insides)
    if not has.all():
        counts = counts.take(pa.array(np.cumsum(has) - 1, mask=~has))
    without = [
        before.rstrip(b",") + b"}" if found else line
        for line, (before, found, _) in zip(lines, parts, strict=True)
    ]  # fmt: skip
    return without, counts


def _maps(insides: list[bytes]) -> pa.MapArray:
    """The maps of what stands between braces, one each."""
    escaped = np.array([b"\\" in inside for inside in insides])
    plain = _plain([inside for inside in insides if b"\\" not in inside])
    if not escaped.any():
        return plain
    others = _parsed([inside for inside in insides if b"\\" in inside])
    order = np.empty(len(insides), np.int64)
    order[np.concatenate([np.flatnonzero(~escaped), np.flatnonzero(escaped)])] = np.arange(len(insides))
    return pa.concat_arrays([plain, others]).take(pa.array(order))


def _parsed(insides: list[bytes]) -> pa.MapArray:
    try:
        found = [json.loads(b"{%b}" % inside) for inside in insides]
        return pa.array([list(words.items()) for words in found], WORDS)
    except (ValueError, RecursionError, pa.ArrowException, OverflowError) as error:
        raise NotPlainError from error


def _plain(insides: list[bytes]) -> pa.MapArray:
    """As `_maps`, of what has no backslash."""
    sizes = (inside.count(b'"') // 2 for inside in insides)
    rows = pa.array([0, *accumulate(sizes)], pa.int32())
    text = np.frombuffer(b",".join([*filter(None, insides), b""]), np.uint8)
    quotes = np.flatnonzero(text == QUOTE)
    if len(quotes) != 2 * rows[-1].as_py() or (len(text) and not (len(quotes) and quotes[0] == 0)):
        raise NotPlainError
    if len(text) and text.min() < FIRST_PRINTABLE:
        raise NotPlainError
    starts, ends = quotes[::2], quotes[1::2]
    times = _times(text, ends, np.append(starts[1:], len(text)) - 1 if len(starts) else starts)
    # Cut at the quotation marks, every second piece is a word.
    cuts = np.zeros(len(quotes) + 1, np.int32)
    cuts[1::2], cuts[2::2] = starts + 1, ends
    pieces = pa.Array.from_buffers(TEXT, len(quotes), [None, pa.py_buffer(cuts), pa.py_buffer(text)])
    words = pieces.take(pa.array(np.arange(1, len(quotes), 2)))
    return pa.MapArray.from_arrays(rows, words, pa.array(times), WORDS)


def _times(text: NDArray[np.uint8], ends: Ints, commas: Ints) -> Ints:
    """The counts, each of which stands between the end of its word and a comma.

    Raises:
        NotPlainError: something else stands there.
    """
    digits = commas - ends - 2
    if (digits < 1).any() or (digits > MOST_DIGITS).any():
        raise NotPlainError
    if (text[ends + 1] != COLON).any() or (text[commas] != COMMA).any():
        raise NotPlainError
    found = np.zeros(len(ends), np.int64)
    for place in range(int(digits.max(initial=0))):
        rows = slice(None) if place == 0 else np.flatnonzero(digits > place)
        digit = text[ends[rows] + 2 + place] - ZERO  # of no digit it is more than 9, for bytes have no sign
        if (digit > 9).any() or (place == 1 and not found[rows].all()):
            raise NotPlainError
        found[rows] = found[rows] * 10 + digit
    return found
