"""Rows of a decision log as lines of JSON, with what is kept of their prompts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from features.request import well_formed
from pipeline.runtime.parquet_file import storable

Words = Callable[[Sequence[str]], Sequence[Sequence[str]]]
# Words of more take gigabytes for a moment.
LARGEST_COUNTED = 1_000_000
ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


class UncountedError(ValueError):
    """Words that could not be counted; nothing of them is in the message."""


class UnloggableError(ValueError):
    """A row with values that are not plain; nothing of them is in the message."""


def counted(prompts: Sequence[str], words: Words) -> list[dict[str, int]]:
    """How often each word stands in each prompt, in the order of the words themselves.

    Raises:
        UncountedError: the words of one could not be had.
    """
    if any(len(prompt) > LARGEST_COUNTED for prompt in prompts):
        raise UncountedError(f"prompts of more than {LARGEST_COUNTED:,} characters are not counted")
    try:
        return [_in_order(Counter(found)) for _, found in zip(prompts, words(prompts), strict=True)]
    except _failures_of_words() as error:
        raise UncountedError(f"the words of a prompt could not be counted ({type(error).__name__})") from error


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


def _in_order(counts: Counter[str]) -> dict[str, int]:
    del counts[""]  # padding
    return dict(sorted(counts.items()))  # their order in the prompt would tell of it


def _failures_of_words() -> tuple[type[Exception], ...]:
    """What may be raised where words are counted, looked up only once that has happened."""
    from pipeline.runtime.opened import FAILURES

    return FAILURES
