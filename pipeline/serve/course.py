"""A chat request on its way: where it may go, how long it may take, what its caller is told of that."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from pipeline.runtime.decision import Decision
from pipeline.serve.attempt import Attempt
from pipeline.serve.chat import Chat
from pipeline.serve.headers import Headers

ASKED_FOR = "asked for"
NO_TIME = 1e-3  # seconds


@dataclass(slots=True)
class Course:
    """A request on its way.

    Attributes:
        chat: as it came.
        headers: as they came.
        until: end of the time for an answer, on the monotonic clock.
        tier: to ask.
        other: tier to fall back on, or None.
        decision: None where the caller named the tier.
        below: confidence below which flash is unsure; None: no bound.
        fell_back, escalated: why, or "".
        kept: columns of an answer that another one replaced.
    """

    chat: Chat
    headers: Headers
    until: float
    tier: str
    other: str | None = None
    decision: Decision | None = None
    below: float | None = None
    fell_back: str = ""
    escalated: str = ""
    kept: dict[str, Any] = field(default_factory=dict)

    @property
    def left_s(self) -> float:
        """Seconds left for an answer, more than 0."""
        return max(NO_TIME, self.until - time.monotonic())

    def told(self, attempt: Attempt, version: str) -> list[tuple[bytes, bytes]]:
        """Headers for the caller.

        Args:
            attempt: that is passed on.
            version: that decides, where the caller named the tier.
        """
        decision = self.decision
        facts: dict[str, Any] = {
            "tier": attempt.tier,
            "model": attempt.endpoint.model,
            "reason": decision.reason if decision else ASKED_FOR,
            "version": decision.version if decision else version,
            "fallback": self.fell_back,
            "escalated": self.escalated,
        }
        if decision:
            facts |= {"id": decision.id, "chosen": decision.chosen}
            facts |= {"gain": decision.gain, "propensity": decision.propensity}
        return [
            (f"x-tier-router-{name}".encode(), _plain(value))
            for name, value in facts.items()
            if value not in (None, "")
        ]


def _plain(value: object) -> bytes:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return (text if text.isascii() and text.isprintable() else quote(text)).encode()
