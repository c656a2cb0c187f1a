"""JSON whose values keep their own spelling: what is passed on must not change, and reading 1e400 or -0 changes it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")


class Spelled(NamedTuple):
    """A value as Python has it, and as the text spells it."""

    value: Any
    text: str


def members(text: str) -> dict[str, Spelled]:
    """The members of a JSON object by name; of a name that stands twice the last, as `json.loads` has it.

    >>> members('{"a": 1.50, "b": [1, 2]}')["a"]
    Spelled(value=1.5, text='1.50')

    Raises:
        ValueError: not a JSON object; numbers and levels beyond Python's limits are refused too.
    """
    found, at = {}, _after(text, 0, "{")
    try:
        while text[at : at + 1] != "}":
            if text[at : at + 1] != '"':
                raise ValueError(f"expected a name at character {at}")
            name, at = _DECODER.raw_decode(text, at)
            start = _after(text, at, ":")
            value, at = _DECODER.raw_decode(text, start)
            found[name] = Spelled(value, text[start:at])
            at = _next(text, at, "}")
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _end(text, at + 1)
    return found


def elements(text: str) -> Iterator[Spelled]:
    """The elements of a JSON list that was read before."""
    at = _after(text, 0, "[")
    while text[at : at + 1] != "]":
        start = at
        value, at = _DECODER.raw_decode(text, start)
        yield Spelled(value, text[start:at])
        at = _next(text, at, "]")


def spelled(found: Mapping[str, str]) -> str:
    """The JSON object with these values, each as it is spelled."""
    return "{" + ",".join(f"{json.dumps(name)}:{text}" for name, text in found.items()) + "}"


def _after(text: str, at: int, mark: str) -> int:
    """Where the next value begins, behind a mark."""
    at = _skipped(text, at)
    if text[at : at + 1] != mark:
        raise ValueError(f"expected {mark} at character {at}")
    return _skipped(text, at + 1)


def _next(text: str, at: int, closing: str) -> int:
    """Where the next value begins, or where the closing mark is."""
    at = _skipped(text, at)
    if text[at : at + 1] == closing:
        return at
    at = _after(text, at, ",")
    if text[at : at + 1] == closing:
        raise ValueError(f"expected a value at character {at}")
    return at


def _skipped(text: str, at: int) -> int:
    return _SPACE.match(text, at).end()  # type: ignore[union-attr]  # it matches anywhere


def _end(text: str, at: int) -> None:
    if _skipped(text, at) != len(text):
        raise ValueError(f"nothing more was expected at character {at}")
