"""What an answer tells of itself, as columns of trace files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from features.request import well_formed
from pipeline.collect.failures import CallError
from pipeline.collect.protocol import MOST_TOKENS, Reply, Used, read, usage
from pipeline.endpoint import Endpoint

# The end of a stream, in which its usage stands if anywhere.
TAIL_BYTES = 65_536
DATA = b"data:"
USAGE = b'"usage"'


def whole(body: bytes, endpoint: Endpoint) -> Reply | None:
    """An answer that is no stream; None where it cannot be read."""
    try:
        return read(body.decode(errors="replace"), endpoint, MOST_TOKENS)
    except CallError:
        return None


def complaint(body: bytes) -> str:
    """The code of an error, as OpenAI's protocol has it; "": none."""
    try:
        found = json.loads(body)["error"]["code"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return ""
    return found if isinstance(found, str) else ""


def of_whole(tier: str, reply: Reply | None, seconds: float) -> dict[str, Any]:
    """Columns of an answer that is no stream.

    Args:
        tier: that gave it.
        reply: the answer; None: it could not be read.
        seconds: that it took.
    """
    if reply is None:
        return {f"{tier}_latency_s": seconds}
    return _columns(tier, reply.model, reply.fingerprint, reply.used, seconds, reply.confidence)


def of_stream(tier: str, tail: bytes, seconds: float) -> dict[str, Any]:
    """Columns of an answer that came in pieces.

    Args:
        tier: that gave it.
        tail: its end.
        seconds: that it took.
    """
    telling = (chunk for chunk in _chunks(tail, USAGE) if chunk.get("usage"))
    last = next(telling, None) or next(_chunks(tail), {})
    used, _ = usage(last.get("usage"), MOST_TOKENS, MOST_TOKENS)
    return _columns(tier, last.get("model"), last.get("system_fingerprint"), used, seconds, None)


def _chunks(tail: bytes, holding: bytes = DATA) -> Iterator[dict[str, Any]]:
    """The JSON objects of a stream of events, the last first; lines that do not hold these bytes are not read."""
    for line in reversed(tail.splitlines()):
        if not line.startswith(DATA) or holding not in line:
            continue
        try:
            chunk = json.loads(line[len(DATA) :])
        except (ValueError, RecursionError):  # "[DONE]", or a line whose beginning is not in the tail
            continue
        if isinstance(chunk, dict):
            yield chunk


def _columns(
    tier: str, model: Any, fingerprint: Any, used: Used | None, seconds: float, confidence: float | None
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "latency_s": round(seconds, 6),
        "model": well_formed(model) if isinstance(model, str) else None,
        "fingerprint": well_formed(fingerprint) if isinstance(fingerprint, str) else None,
        "confidence": confidence,
    }
    if used:
        told |= {name: getattr(used, name) for name in Used.__slots__}
    return {f"{tier}_{name}": value for name, value in told.items() if value not in (None, "")}
