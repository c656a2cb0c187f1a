"""From a score to a tier: by the threshold, within the tiers' limits, and now and then the other way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from pipeline.runtime.decision import FLASH, PRO, REASONS, TIERS, other
from pipeline.runtime.opened import Scores


@dataclass(frozen=True, slots=True)
class Choice:
    """A tier, and how it came about; the fields are those of a `Decision`."""

    tier: str
    chosen: str
    reason: str
    detail: str
    propensity: float | None
    alternative: str | None


def by_score(scores: Scores, evidence_floor: float) -> Choice:
    """What the router chooses."""
    if not scores.use_pro:
        tier, reason = FLASH, "no_gain"
    else:
        tier, reason = PRO, "evidence" if scores.evidence < np.float32(evidence_floor) else "gain"
    return Choice(tier, tier, reason, REASONS[reason], 1.0, other(tier))


def explored(choice: Choice, rate: float, draw: float) -> Choice:
    """The other tier at a rate, for a draw from [0, 1)."""
    if draw >= rate:
        return replace(choice, propensity=1 - rate)
    tier = choice.alternative or choice.tier
    return Choice(tier, tier, "explored", f"{REASONS['explored']}: {choice.detail}", rate, choice.tier)


def limited(choice: Choice, forbidden: Mapping[str, tuple[str, str]]) -> Choice:
    """What remains of a choice where tiers are forbidden, each with the limit's name and a sentence.

    The only allowed tier is asked, and pro where there is none. The router's own choice stays as `chosen`; nothing is
    explored, so its propensity is 1.
    """
    allowed = [tier for tier in TIERS if tier not in forbidden]
    tier = allowed[0] if allowed else PRO
    reason, said = forbidden[other(tier)]
    whom = other(tier) if allowed else "either tier"
    return replace(choice, tier=tier, reason=reason, detail=f"{REASONS[reason]} for {whom}: {said}", alternative=None)


def capable(reason: str, said: str) -> Choice:
    """The capable tier, where nothing could be scored."""
    return Choice(PRO, PRO, reason, f"{REASONS[reason]}: {said}", None, None)
