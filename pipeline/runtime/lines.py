"""Rows of a decision log as lines of JSON, with what is kept of their prompts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from features.request import well_formed
from pipeline.runtime.parquet_file import storable

Words = Callable[[str], Sequence[str]]
# Words of more take gigabytes for a moment.
LARGEST_COUNTED = 1_000_000
ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


class UncountedError(ValueError):
    """Words that could not be counted; nothing of them is in the message."""


class UnloggableError(ValueError):
    """A row with values that are not plain; nothing of them is in the message."""


def counted(prompt: str, words: Words) -> dict[str, int]:
    """How often each word stands in a prompt, in the order of the words themselves.

    Raises:
        UncountedError: the words could not be had.
    """
    if len(prompt) > LARGEST_COUNTED:
        raise UncountedError(f"prompts of more than {LARGEST_COUNTED:,} characters are not counted")
    try:
        counts = Counter(words(prompt))
    except _failures_of_words() as error:
        raise UncountedError(f"the words of a prompt could not be counted ({type(error).__name__})") from error
    del counts[""]  # padding
    return dict(sorted(counts.items()))  # their order in the prompt would tell of it


def line_of(row: Mapping[str, Any], form: str) -> bytes:
    """A row as JSON and a line break; lone surrogates become U+FFFD.

    Args:
        row: plain values by column.
        form: of the file that the line is meant for.

    Raises:
        UnloggableError: a value is not plain, or, for Parquet, not one of its column.
    """
    try:
        text = ENCODER.encode(storable(row) if form == "parquet" else row)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UnloggableError(f"a decision has a value that cannot be logged ({type(error).__name__})") from error
    return well_formed(text).encode() + b"\n"


def _failures_of_words() -> tuple[type[Exception], ...]:
    """What may be raised where words are counted, looked up only once that has happened."""
    from pipeline.runtime.opened import FAILURES

    return FAILURES
