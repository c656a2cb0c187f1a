"""From a score to a tier: by the threshold, within the tiers' limits, and now and then the other way."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from pipeline.runtime.decision import FLASH, PRO, REASONS, TIERS, other
from pipeline.runtime.opened import Scores


class Choice(NamedTuple):
    """A tier, and how it came about; the fields are those of a `Decision`."""

    tier: str
    chosen: str
    reason: str
    detail: str
    propensity: float | None
    alternative: str | None


def choose(
    scores: Scores | None, evidence_floor: float, forbidden: Mapping[str, tuple[str, str]], rate: float
) -> Choice:
    """What the router chooses, as far as limits allow it; nothing is explored here.

    Args:
        scores: of the request; None: not scored, because a limit decides.
        evidence_floor: of the version.
        forbidden: tiers that a limit excludes, each with the limit's name and a sentence.
        rate: in [0, 0.5], of exploration, which there is none of where a tier is forbidden.
    """
    if scores is None:
        return _limited(None, forbidden)
    if not scores.use_pro:
        tier, reason = FLASH, "no_gain"
    else:
        tier, reason = PRO, "evidence" if scores.evidence < np.float32(evidence_floor) else "gain"
    if forbidden:
        return _limited(tier, forbidden)
    return Choice(tier, tier, reason, REASONS[reason], 1 - rate, other(tier))


def away(scores: Scores | None, evidence_floor: float, threshold: float) -> float:
    """How far the gain is from the threshold; infinity where it does not decide."""
    if scores is None or scores.evidence < np.float32(evidence_floor):
        return math.inf
    return abs(scores.gain - threshold)


def explored(choice: Choice, rate: float) -> Choice:
    """The other tier, at a rate."""
    tier = other(choice.tier)
    return Choice(tier, tier, "explored", f"{REASONS['explored']}: {choice.detail}", rate, choice.tier)


def capable(reason: str, said: str) -> Choice:
    """The capable tier, where nothing could be scored."""
    return Choice(PRO, PRO, reason, f"{REASONS[reason]}: {said}", None, None)


def _limited(chosen: str | None, forbidden: Mapping[str, tuple[str, str]]) -> Choice:
    """The only tier that is allowed, and pro where there is none; `chosen` stays what the router chose, if it did."""
    allowed = [tier for tier in TIERS if tier not in forbidden]
    tier = allowed[0] if allowed else PRO
    reason, said = forbidden[other(tier)]
    whom = other(tier) if allowed else "either tier"
    return Choice(tier, chosen or tier, reason, f"{REASONS[reason]} for {whom}: {said}", 1.0, None)
