"""What a decision is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from features.request import Request

FLASH, PRO = TIERS = ("flash", "pro")
# By the score, against the score, by a limit of a tier, or because there was nothing to score.
REASONS = {
    "no_gain": "the gain is below the threshold",
    "gain": "the gain reaches the threshold",
    "evidence": "too few of the words are known",
    "explored": "against the score, so that logs can be learned from",
    "context": "the input is too long",
    "output": "too much output is asked for",
    "tools": "too many tools are offered",
    "modality": "there are parts that are not text",
    "realtime": "the first token would come too late",
    "unreadable": "the request could not be read",
    "error": "deciding failed",
}


class Asked(NamedTuple):
    """What was decided on, and how the version that decided splits prompts into words."""

    request: Request
    words: Callable[[Sequence[str]], Sequence[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Decision:
    """Which tier to ask, and why.

    Attributes:
        id: 32 hexadecimal digits, the `task_id` of the log.
        tier: to ask.
        model: that tier's model id, where the version knows it.
        chosen: tier that the router chose, exploration included; another than `tier` where a limit forbids it.
        reason: one of `REASONS`.
        detail: the reason in words; nothing of the prompt is in it.
        probabilities: of a correct answer, in [0, 1], by tier; None where nothing was scored, as the next three.
        gain: P(pro correct) - P(flash correct), in [-1, 1].
        threshold: that the gain was held against.
        evidence: share of the prompt's words that the router knows, in [0, 1].
        version: that decided.
        propensity: probability of `chosen`, given the request; None where nothing was scored.
        alternative: tier to fall back on if `tier` fails; None where a limit forbids it.
    """

    id: str
    tier: str
    model: str | None
    chosen: str
    reason: str
    detail: str
    probabilities: dict[str, float] | None
    gain: float | None
    threshold: float | None
    evidence: float | None
    version: str
    propensity: float | None
    alternative: str | None
    asked: Asked | None = field(default=None, repr=False, compare=False)

    def __getstate__(self) -> list[Any]:
        """Without what was asked, which holds an open version."""
        return [None if each.name == "asked" else getattr(self, each.name) for each in fields(self)]

    def plain(self) -> dict[str, Any]:
        """The decision as JSON values, without what was asked."""
        return {name: getattr(self, name) for name in PUBLIC}


PUBLIC = tuple(each.name for each in fields(Decision) if each.repr)


def other(tier: str) -> str:
    """The other tier."""
    return PRO if tier == FLASH else FLASH
