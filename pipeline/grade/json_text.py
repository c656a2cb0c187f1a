"""JSON as graders read it, strictly, and as they compare it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

# Levels. Ours and jsonschema's code calls itself at each; what answers a task is nowhere near.
DEEPEST = 50

# An unfinished string ends with the text, so that no part is scanned twice.
_MARKS = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)


def parsed(text: str) -> Any:
    """JSON text as Python values.

    Raises:
        ValueError: not JSON; a key twice in one object; NaN, an infinity, or a number beyond what doubles hold; nested
            deeper than `DEEPEST`.
    """
    depth = 0
    for mark in _MARKS.finditer(text):
        depth += (mark[0] in ("[", "{")) - (mark[0] in ("]", "}"))
        if depth > DEEPEST:
            raise ValueError(f"nested deeper than {DEEPEST} levels")
    return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_finite)


def comparable(value: Any) -> Any:
    """What is equal, and hashes alike, for equal JSON values: 1 is 1.0 but not true, keys have no order.

    Raises:
        ValueError: NaN or an infinity, which JSON does not have; nested too deeply.
    """
    try:
        return _comparable(value)
    except RecursionError:
        raise ValueError(f"nested too deeply; keep to {DEEPEST} levels") from None


def _comparable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return "object", frozenset((key, _comparable(each)) for key, each in value.items())
    if isinstance(value, list | tuple):
        return "array", tuple(_comparable(each) for each in value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("NaN and infinity are not JSON; give a finite number")
    return isinstance(value, bool), value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return table


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number beyond 1.8e308")
    return number
