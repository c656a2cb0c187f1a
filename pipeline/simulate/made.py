"""A generated task: what is asked, what is right, what is wrong, and what makes it hard."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

DIGEST_BYTES = 16
# How far a property strays from what the task's demand asks for, as a share of its range.
STRAY = 0.08


@dataclass(frozen=True, slots=True)
class Said:
    """What a tier says: text, or calls of tools by name and arguments."""

    text: str = ""
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()


@dataclass(frozen=True, slots=True)
class Made:
    """What a kind of task makes.

    Attributes:
        asked: a prompt or messages, tools, response_format: the fields of a task line that are sent.
        grader: of a task line.
        right, wrong: answers that the grader accepts and refuses.
        load: what makes the task hard, by name, each >= 1; `pipeline.simulate.ability` weighs them.
    """

    asked: dict[str, Any]
    grader: dict[str, Any]
    right: Said
    wrong: Said
    load: Mapping[str, float] = field(default_factory=dict)


def scaled(draw: Random, demand: float, low: int, high: int) -> int:
    """A whole number between two, growing geometrically with the demand, 0 to 1, give or take `STRAY`."""
    at = min(max(demand + draw.gauss(0, STRAY), 0.0), 1.0)
    return round(low * math.pow(high / low, at))


def uniforms(*names: object) -> tuple[float, ...]:
    """Eight numbers in [0, 1) that follow from some names alone."""
    drawn = hashlib.blake2b("/".join(map(str, names)).encode(errors="surrogatepass")).digest()
    return tuple(int.from_bytes(drawn[at : at + 8], "big") / 2**64 for at in range(0, 64, 8))


def canonical(asked: Mapping[str, Any]) -> bytes:
    """What a task asks, in one spelling: its messages, tools and response format as JSON.

    A prompt is one user message. Reasoning that is sent back belongs to the conversation and not to the task.
    """
    messages = asked.get("messages") or [{"role": "user", "content": asked.get("prompt")}]
    plain = [{key: value for key, value in each.items() if key != "reasoning_content"} for each in messages]
    form = asked.get("response_format")
    what = [plain, asked.get("tools") or None, None if form == {"type": "text"} else form]
    return json.dumps(what, sort_keys=True, separators=(",", ":")).encode()


def digest(asked: Mapping[str, Any]) -> bytes:
    """What identifies a task among requests: 16 bytes of `canonical`."""
    return hashlib.blake2b(canonical(asked), digest_size=DIGEST_BYTES).digest()
