"""What the journal is told of a call's end."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pipeline.collect.failures import CallError
from pipeline.collect.protocol import Reply

Outcome = dict[str, Any]


def answered(reply: Reply, seconds: float, cost_usd: float | None, worst_usd: float) -> Outcome:
    """Of an answer. Without believable usage the most that the call can have cost is charged; a higher bill is."""
    return {
        "state": "answered", "charged_usd": worst_usd if cost_usd is None else cost_usd, "cost_usd": cost_usd,
        "latency_s": seconds, "paid": True, "model": reply.model, "fingerprint": reply.fingerprint,
        "confidence": reply.confidence, "reply": reply.text, **(asdict(reply.used) if reply.used else {}),
    }  # fmt: skip


def failed(failure: CallError, worst_usd: float) -> Outcome:
    """Of a failure: the most that it can have cost is charged where it may have been paid for."""
    return {
        "state": "failed", "charged_usd": worst_usd if failure.paid else 0.0, "cause": failure.cause,
        "paid": failure.paid, "reply": failure.reply or failure.detail or None,
    }  # fmt: skip


NOT_SENT: Outcome = {"state": "failed", "charged_usd": 0.0, "cause": "not sent", "paid": False}
