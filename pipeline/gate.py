"""The gate: whether a challenger takes the champion's place, judged on evidence that neither was made from.

Both are judged on the same newest requests. The challenger has to be shown no worse than the champion by more than a
margin, in quality and in cost: a test of non-inferiority in each, at the level of one, since both have to pass
(intersection-union, Berger 1982). What audits say, where both tiers were asked, and what logs say, by doubly robust
estimates, are put together by their precision. No slice of the traffic may be shown to lose more than its floor; the
level of that is divided by the number of slices (Bonferroni), so that many slices do not bar everything.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, fields, replace
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
from pipeline.off_policy import Inferred, compare, explored_variance, overlap, pooled

MARGIN = 0.01
SLICE_MARGIN = 0.02
LEVEL = 0.05
COST = "cost"
FEWEST_IN_A_SLICE = 50
LONG_CONTEXT_BYTES = 8_000
FEWEST_GROUPS = 50
OUT_OF_REACH = 5.0  # times the evidence; who has so little traffic will not be shown anything
LEAST_DOUBT = 0.05  # nothing is taken to be right, or wrong, more surely than this


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
        promote_unsure: whether a challenger passes unless it is shown to be worse.
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
    promote_unsure: bool = False


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount of N requests at flash and at pro, float64[N, 2] each.

    Attributes:
        values: doubly robust.
        noise: variance of one outcome, given the request.
    """

    values: Reals
    noise: Reals

    @classmethod
    def accuracy(cls, amounts: Amounts) -> Amount:
        """1 correct, 0 wrong."""
        return cls(amounts.accuracy, _noise(amounts, amounts.accuracy, amounts.expected, 1.0))

    @classmethod
    def cost(cls, amounts: Amounts) -> Amount:
        """Delivery costs, in shares of what always-pro is expected to cost."""
        values, expected = amounts.costs.delivery, amounts.expected_costs.delivery
        unit = float(expected[:, PRO].mean())
        if unit <= 0:  # nothing costs anything
            return cls(np.zeros_like(values), np.zeros_like(values))
        return cls(values / unit, _noise(amounts, values / unit, expected / unit))


def _noise(amounts: Amounts, values: Reals, expected: Reals, least: float = 0.0) -> Reals:
    """The variance of an amount given the request: that of being correct, times what the seen ones say, or more.

    A tier of which only a few explored answers were seen, all alike, is no surer than both tiers together; and being
    correct varies by `least` = 1 times that of being correct, whatever was seen.
    """
    chance = amounts.expected.clip(LEAST_DOUBT, 1 - LEAST_DOUBT)
    shape, seen = chance * (1 - chance), amounts.asked.seen
    surprise = (values - expected) * amounts.asked.chances * amounts.arrival
    squares, shapes = ((np.where(seen, each, 0.0)).sum(axis=0) for each in (surprise**2, shape))
    times = np.divide(squares, shapes, out=np.zeros(len(squares)), where=shapes > 0)
    both = squares.sum() / shapes.sum() if shapes.any() else 0.0
    return np.asarray(shape * np.maximum(times, max(both, least)))


def judge(
    amounts: Amounts, champion: Mask, challenger: Mask, margin: float = MARGIN, level: float = LEVEL, *,
    promote_unsure: bool = False,
) -> Judged:  # fmt: skip
    """Compare two routers on the same requests.

    Args:
        amounts: of N requests that neither was fitted or tuned on.
        champion, challenger: bool[N], whether each sends the request to pro.
        margin: > 0, of accuracy, and of always-pro's cost, by which the challenger may at most be worse.
        level: in (0, 0.5), largest probability that one which is worse by more is promoted.
        promote_unsure: promote too where neither is shown, unless the challenger goes where the logs never ask; what
            the level says does not hold then.
    """
    differing = float((champion != challenger).mean())
    if not differing:
        return _without(Verdict.KEEP, "both send every request to the same tier", amounts, 0.0, margin)
    try:
        everything = np.arange(len(amounts))
        right, spent = Amount.accuracy(amounts), Amount.cost(amounts)
        quality = _difference("accuracy", amounts, everything, right, champion, challenger, -margin, level)
        cost = _difference(COST, amounts, everything, spent, champion, challenger, margin, level)
    except LearningError as error:
        if promote_unsure and _comparable(amounts, champion, challenger):
            said = f"nothing shows it to be worse, and 'unsure' promotes: {error}"
            return replace(_without(Verdict.PROMOTE, said, amounts, differing, margin), promote_unsure=True)
        return _without(Verdict.NOT_ENOUGH, str(error), amounts, differing, margin)
    slices = _slices(amounts, champion, challenger, level)
    verdict, why = _unless_worse(quality, cost, slices) if promote_unsure else _if_shown(quality, cost, slices)
    audited, logged = _counts(amounts)
    return Judged(verdict, why, quality, cost, slices, audited, logged, differing, margin, promote_unsure)


def _comparable(amounts: Amounts, champion: Mask, challenger: Mask) -> bool:
    """Whether there are requests to judge by, and the logs ask by some chance what either would."""
    enough = len(np.unique(amounts.asked.groups)) >= FEWEST_GROUPS
    return enough and all(overlap(amounts.asked, one).covers for one in (champion, challenger))


def _if_shown(quality: Difference, cost: Difference, slices: tuple[Difference, ...]) -> tuple[Verdict, str]:
    """Promote what is shown to be no worse by the margin."""
    if worse := _loses(slices) or _no_better(quality, cost):
        return Verdict.KEEP, worse
    if not quality.low > quality.bound:
        said = f"{_points(quality)}, down to {_shown(quality.low)}"
        return Verdict.NOT_ENOUGH, f"accuracy is not known well enough: {said}: {_remedy(quality)}"
    if not cost.high < cost.bound:
        said = f"{_points(cost)}, up to {_shown(cost.high)}"
        return Verdict.NOT_ENOUGH, f"cost is not known well enough: {said}: {_remedy(cost)}"
    return Verdict.PROMOTE, f"no worse by the margin in either: accuracy {_points(quality)}, cost {_points(cost)}"


def _unless_worse(quality: Difference, cost: Difference, slices: tuple[Difference, ...]) -> tuple[Verdict, str]:
    """Promote what is not shown to be worse by the margin."""
    if quality.high < quality.bound:
        return Verdict.KEEP, f"the challenger is shown to be less accurate: {_points(quality)}"
    if cost.low > cost.bound:
        return Verdict.KEEP, f"the challenger is shown to cost more: {_points(cost)}"
    if worse := _loses(slices):
        return Verdict.KEEP, worse
    said = f"accuracy {_points(quality)}, cost {_points(cost)}"
    return Verdict.PROMOTE, f"not shown to be worse, and 'unsure' promotes: {said}"


def _loses(slices: tuple[Difference, ...]) -> str:
    """The slice that is shown to lose most, if one is."""
    if broken := [each for each in slices if each.high < each.bound]:
        worst = min(broken, key=lambda each: each.high)
        return f"the challenger loses on {worst.name}: {_points(worst)}"
    return ""


def _no_better(quality: Difference, cost: Difference) -> str:
    """Why more evidence would hardly help the challenger; "" where it might."""
    if quality.estimate.value <= quality.bound:
        return f"the challenger is less accurate: {_points(quality)}"
    if cost.estimate.value >= cost.bound:
        return f"the challenger costs more: {_points(cost)}"
    if quality.estimate.value <= 0 and cost.estimate.value >= 0:
        return f"the challenger is no better: accuracy {_points(quality)}, cost {_points(cost)}"
    return ""


def _remedy(difference: Difference) -> str:
    """How much more would have to be known, if the estimate stays what it is."""
    value = difference.estimate.value
    times = ((value - difference.low) / (value - difference.bound)) ** 2
    more = (
        f"{max(times, 1.1):.1f} times the evidence would do: raise 'newest_days' or 'explore', or ask both tiers a "
        "sample (tier-router collect) and name it under [retune] audit"
    )
    return more if times < OUT_OF_REACH else f"{more}; where that never comes, 'unsure' under [retune] is the choice"


def _points(difference: Difference) -> str:
    unit = f"points{' of what always-pro costs' if difference.name == COST else ''}"
    return f"{_shown(difference.estimate.value)} {unit}, {_shown(difference.bound)} allowed"


def _shown(share: float) -> str:
    """In percentage points."""
    return number(share, "difference")


def _slices(amounts: Amounts, champion: Mask, challenger: Mask, level: float) -> tuple[Difference, ...]:
    """The difference in accuracy of each slice that has enough rows."""
    members = {name: rows for name, rows in _members(amounts).items() if len(rows) >= FEWEST_IN_A_SLICE}
    right, found = Amount.accuracy(amounts), []
    for name, rows in members.items():
        with suppress(LearningError):  # too few groups, or logs that tell nothing of one of the two there
            found.append(
                _difference(name, amounts, rows, right, champion, challenger, -SLICE_MARGIN, level / len(members))
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
    name: str, amounts: Amounts, rows: Ints, of: Amount, champion: Mask, challenger: Mask, bound: float, level: float
) -> Difference:
    """The difference in one amount, on some rows, over audits and logs together.

    Raises:
        LearningError: neither says enough, with what to do.
    """
    audited = amounts.evidence.audited[rows]
    found, refused = [], None
    for part, logged in ((rows[audited], False), (rows[~audited], True)):
        if len(np.unique(amounts.asked.groups[part])) < FEWEST_GROUPS:
            continue
        asked, one, other = _taken(amounts.asked, part), challenger[part], champion[part]
        try:
            for policy in (other, one):
                overlap(asked, policy).check()
        except LearningError as error:
            refused = error
            continue
        least = explored_variance(asked, amounts.arrival[part], of.noise[part], one, other) if logged else 0.0
        found.append(compare(of.values[part], one, other, asked.groups, least))
    if not found:
        raise refused or LearningError(
            f"fewer than {FEWEST_GROUPS} requests say anything about the tiers: wait for outcomes, or ask both tiers a "
            "sample (tier-router collect)"
        )
    estimate = pooled(found, _furthest(of.values[rows[audited]]))
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
