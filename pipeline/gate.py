"""The gate: whether a challenger takes the champion's place, judged on evidence that neither was made from.

Both are judged on the same newest requests. The challenger has to be shown no worse than the champion by more than a
margin, in quality and in cost: a test of non-inferiority in each, at the level of one, since both have to pass
(intersection-union, Berger 1982). What audits say, where both tiers were asked, and what logs say, by doubly robust
estimates, are put together by their precision. No slice of the traffic may be shown to lose more than its floor; the
level of that is divided by the number of slices (Bonferroni), so that many slices do not bar everything.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, fields
from enum import Enum

import numpy as np

from features.bags import Ints
from features.errors import LearningError
from features.graph import FEATURES
from pipeline.evidence import Mask
from pipeline.inferred import Amounts
from pipeline.metrics import FLASH, PRO, Reals
from pipeline.nuisance import Asked
from pipeline.numerals import number
from pipeline.off_policy import Inferred, compare, overlap, pooled

MARGIN = 0.01
SLICE_MARGIN = 0.02
LEVEL = 0.05
COST = "cost"
FEWEST_IN_A_SLICE = 50
LONG_CONTEXT_BYTES = 8_000
FEWEST_GROUPS = 50


class Verdict(Enum):
    """How a gate ends."""

    PROMOTE = "promote"
    KEEP = "keep"
    NOT_ENOUGH = "not enough evidence"


@dataclass(frozen=True, slots=True)
class Difference:
    """Challenger minus champion.

    Attributes:
        name: of what is compared.
        estimate: of the difference.
        low, high: bounds, each at the one-sided confidence level of its test.
        bound: that must not be crossed: the least for an accuracy, the most for a cost.
        rows: compared.
    """

    name: str
    estimate: Inferred
    low: float
    high: float
    bound: float
    rows: int


@dataclass(frozen=True, slots=True)
class Judged:
    """What the gate found.

    Attributes:
        verdict: of it.
        why: in one sentence.
        quality: difference in accuracy, a share of the requests; None where nothing could be compared.
        cost: difference in delivery cost, in shares of what always-pro costs.
        slices: differences in accuracy, of the slices that have enough rows.
        audited, logged: independent requests of each kind that were compared.
        differing: share of the requests that the two send to different tiers.
        margin: that was applied.
    """

    verdict: Verdict
    why: str
    quality: Difference | None
    cost: Difference | None
    slices: tuple[Difference, ...]
    audited: int
    logged: int
    differing: float
    margin: float


def judge(amounts: Amounts, champion: Mask, challenger: Mask, margin: float = MARGIN, level: float = LEVEL) -> Judged:
    """Compare two routers on the same requests.

    Args:
        amounts: of N requests that neither was fitted or tuned on.
        champion, challenger: bool[N], whether each sends the request to pro.
        margin: > 0, of accuracy, and of always-pro's cost, by which the challenger may at most be worse.
        level: in (0, 0.5), largest probability that one which is worse by more is promoted.
    """
    differing = float((champion != challenger).mean())
    if not differing:
        return _without(Verdict.KEEP, "both send every request to the same tier", amounts, 0.0, margin)
    try:
        everything = np.arange(len(amounts))
        quality = _difference("accuracy", amounts, everything, amounts.accuracy, champion, challenger, -margin, level)
        unit = float(amounts.costs.delivery[:, PRO].mean())
        spent = amounts.costs.delivery / unit
        cost = _difference(COST, amounts, everything, spent, champion, challenger, margin, level)
    except LearningError as error:
        return _without(Verdict.NOT_ENOUGH, str(error), amounts, differing, margin)
    slices = _slices(amounts, champion, challenger, level)
    verdict, why = _verdict(quality, cost, slices)
    audited, logged = _counts(amounts)
    return Judged(verdict, why, quality, cost, slices, audited, logged, differing, margin)


def _verdict(quality: Difference, cost: Difference, slices: tuple[Difference, ...]) -> tuple[Verdict, str]:
    if worse := _worse(quality, cost, slices):
        return Verdict.KEEP, worse
    if quality.low <= quality.bound:
        return (
            Verdict.NOT_ENOUGH,
            f"accuracy is not known well enough: {_points(quality)}, down to {_shown(quality.low)}",
        )
    if cost.high >= cost.bound:
        return Verdict.NOT_ENOUGH, f"cost is not known well enough: {_points(cost)}, up to {_shown(cost.high)}"
    return Verdict.PROMOTE, f"no worse by the margin in either: accuracy {_points(quality)}, cost {_points(cost)}"


def _worse(quality: Difference, cost: Difference, slices: tuple[Difference, ...]) -> str:
    """Why more evidence would hardly help the challenger; "" where it might."""
    if broken := [each for each in slices if each.high < each.bound]:
        worst = min(broken, key=lambda each: each.high)
        return f"the challenger loses on {worst.name}: {_points(worst)}"
    if quality.estimate.value <= quality.bound:
        return f"the challenger is less accurate: {_points(quality)}"
    if cost.estimate.value >= cost.bound:
        return f"the challenger costs more: {_points(cost)}"
    if quality.estimate.value <= 0 and cost.estimate.value >= 0:
        return f"the challenger is no better: accuracy {_points(quality)}, cost {_points(cost)}"
    return ""


def _points(difference: Difference) -> str:
    unit = f"points{' of what always-pro costs' if difference.name == COST else ''}"
    return f"{_shown(difference.estimate.value)} {unit}, {_shown(difference.bound)} allowed"


def _shown(share: float) -> str:
    """In percentage points."""
    return number(share, "difference")


def _slices(amounts: Amounts, champion: Mask, challenger: Mask, level: float) -> tuple[Difference, ...]:
    """The difference in accuracy of each slice that has enough rows."""
    members = {name: rows for name, rows in _members(amounts).items() if len(rows) >= FEWEST_IN_A_SLICE}
    found = []
    for name, rows in members.items():
        with suppress(LearningError):  # too few groups, or logs that tell nothing of one of the two there
            found.append(
                _difference(
                    name, amounts, rows, amounts.accuracy, champion, challenger, -SLICE_MARGIN, level / len(members)
                )
            )
    return tuple(found)


def _members(amounts: Amounts) -> dict[str, Ints]:
    """The rows of each slice, by its name; what all rows have in common is no slice."""
    rows = amounts.evidence.rows
    tools = rows.features[:, FEATURES.index("tool_count")] > 0
    masks = {f"category {name}": rows.category == name for name in sorted(set(rows.category.tolist()) - {""})}
    masks |= {"requests with tools": tools, "long context": rows.context_bytes >= LONG_CONTEXT_BYTES}
    scripts = amounts.evidence.script
    masks |= {f"{name} script": scripts == name for name in sorted(set(scripts.tolist()) - {""})}
    return {name: np.flatnonzero(mask) for name, mask in masks.items() if not mask.all()}


def _difference(
    name: str, amounts: Amounts, rows: Ints, each: Reals, champion: Mask, challenger: Mask, bound: float, level: float
) -> Difference:
    """The difference in one amount, float64[N, 2] at flash and at pro, on some rows, over audits and logs together.

    Raises:
        LearningError: neither says enough, with what to do.
    """
    audited = amounts.evidence.audited[rows]
    found, refused = [], None
    for part in (rows[audited], rows[~audited]):
        if len(np.unique(amounts.asked.groups[part])) < FEWEST_GROUPS:
            continue
        asked = _taken(amounts.asked, part)
        try:
            for policy in (champion, challenger):
                overlap(asked, policy[part]).check()
        except LearningError as error:
            refused = error
            continue
        found.append(compare(each[part], challenger[part], champion[part], asked.groups))
    if not found:
        raise refused or LearningError(
            f"fewer than {FEWEST_GROUPS} requests say anything about the tiers: wait for outcomes, or ask both tiers a "
            "sample (tier-router collect)"
        )
    estimate = pooled(found, _furthest(each[rows[audited]]))
    reach = estimate.reach(1 - 2 * level)
    return Difference(name, estimate, estimate.value - reach, estimate.value + reach, bound, len(rows))


def _taken(asked: Asked, rows: Ints) -> Asked:
    names = (item.name for item in fields(asked))
    return Asked(**{name: getattr(asked, name)[rows] for name in names})


def _furthest(each: Reals) -> float:
    """The most that one audited request can make the difference."""
    return float(np.abs(each[:, PRO] - each[:, FLASH]).max(initial=1.0))


def _without(verdict: Verdict, why: str, amounts: Amounts, differing: float, margin: float) -> Judged:
    return Judged(verdict, why, None, None, (), *_counts(amounts), differing, margin)


def _counts(amounts: Amounts) -> tuple[int, int]:
    groups, audited = amounts.asked.groups, amounts.evidence.audited
    return len(np.unique(groups[audited])), len(np.unique(groups[~audited]))
