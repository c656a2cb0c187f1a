"""A guarantee for the threshold that is chosen: with the confidence level, the chosen step keeps what was claimed.

Learn then Test (arXiv 2110.01052) with fixed-sequence testing: steps lead from always-pro to always-flash, each is
tested in that order at the full level, and the last one before the first failure may be served. Each test is a bet
against "this step loses too much" (arXiv 2010.09686): wealth that a fair game hardly allows is evidence. How much to
bet follows from what is still to be won and from what is left to bet on, as in STaR-Bets (arXiv 2505.22422).

Nothing is assumed of the scores, nor of the outcomes within a group. Groups have to be independent draws from what
will be served, and the steps have to be fixed without the rows tested here. A group counts once, by the mean of its
rows: what it can lose is then bounded beforehand, and no group of a hundred rows forbids every bet that pays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.bags import Ints
from features.errors import InputError
from pipeline.metrics import FLASH, PRO, Reals

FORMS = ("ratio", "points")
CONFIDENCE_LEVEL = 0.95
# A bet of 1 / (the most a group can lose) is ruined by one such group; this share of it is not.
BOLDEST = 0.9
# The wager is set anew whenever one in so many of the groups left has been seen; more often gains nothing.
REBETS = 25
GROUPS_AT_ONCE = 4096
WAGERS = 40
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Claim:
    """What is to be guaranteed of the served step, for requests like those it is tested on.

    Attributes:
        form: "ratio" (accuracy of at least `bound` times that of always-pro) or "points" (at most `bound` below it).
        bound: in (0, 1] for "ratio", in [0, 1) for "points", where 0.01 is one percentage point.
        confidence_level: least probability, over draws of the tested rows, that the claim is true; in (0, 1).

    Raises:
        InputError: a value out of its range.
    """

    form: str
    bound: float
    confidence_level: float = CONFIDENCE_LEVEL

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise InputError(f"claim {self.form!r}: expected one of {', '.join(FORMS)}")
        if not 0 <= self.allowance < 1:
            expected = "more than 0 and at most 1" if self.form == "ratio" else "at least 0 and less than 1"
            raise InputError(f"bound {self.bound:g} of a claim in {self.form}: expected {expected}")
        if not 0 < self.confidence_level < 1:
            raise InputError(f"confidence level {self.confidence_level:g}: expected more than 0 and less than 1")

    @property
    def allowance(self) -> float:
        """Answers that may be lost per request, or in a ratio per request that pro answers rightly."""
        return self.bound if self.form == "points" else 1 - self.bound

    @property
    def risk(self) -> float:
        """Largest probability of a wrong guarantee."""
        return 1 - self.confidence_level


@dataclass(frozen=True, slots=True)
class _Sums:
    """What every group loses beyond its allowance at every step, as changes along the path: most steps change nothing.

    Attributes:
        group, step, value, sign: [C], from `step` on one more (1) or one less (-1) group stands at `value`; by group.
        groups: number of groups.
        steps: number of steps.
        most: the most that a group can lose beyond its allowance.
    """

    group: Ints
    step: Ints
    value: Reals
    sign: Reals
    groups: int
    steps: int
    most: float

    @classmethod
    def of(cls, claim: Claim, outcomes: Reals, groups: Ints, place: Ints, steps: int) -> _Sums:
        """Of rows in any order; see `p_values`."""
        order = np.lexsort((place, groups))
        _, first, rows = np.unique(groups[order], return_index=True, return_counts=True)
        of_row = np.repeat(np.arange(len(rows)), rows)
        change = (outcomes[:, PRO] - outcomes[:, FLASH])[order]
        sizes = rows if claim.form == "points" else np.add.reduceat(outcomes[order, PRO], first)
        share = 1.0 / rows
        allowed = claim.allowance * sizes * share
        lost = np.cumsum(change)
        lost -= (lost - change)[first][of_row]
        moves = np.flatnonzero((change != 0) & (place[order] < steps))
        group, step = of_row[moves], place[order][moves]
        after, before = (each[moves] * share[group] - allowed[group] for each in (lost, lost - change))
        whose = np.concatenate([np.arange(len(rows)), group, group])
        by_group = np.argsort(whose, kind="stable")
        return cls(
            whose[by_group],
            np.concatenate([np.zeros(len(rows), np.int64), step, step])[by_group],
            np.concatenate([-allowed, after, before])[by_group],
            np.repeat([1.0, 1.0, -1.0], [len(rows), len(moves), len(moves)])[by_group],
            len(rows),
            steps,
            1 - claim.allowance,
        )

    def counted(self, start: int, end: int) -> tuple[Reals, Reals]:
        """Distinct sums of the groups in [start, end), float64[D], and how many groups have each by step, [K, D]."""
        here = slice(*np.searchsorted(self.group, [start, end]))
        values, code = np.unique(self.value[here], return_inverse=True)
        cells = self.step[here] * len(values) + code
        changes = np.bincount(cells, weights=self.sign[here], minlength=self.steps * len(values))
        return values, changes.reshape(self.steps, -1).cumsum(axis=0)


def codes(groups: NDArray[np.object_], seed: int) -> Ints:
    """Group names as the numbers in whose order they are bet on: int64[N], the same whatever the order of rows.

    The order is that of hashes, so it knows nothing of outcomes, and no one can choose it after the fact.
    """
    which, names = pd.factorize(groups)
    hashed = [hashlib.blake2b(f"bet:{seed}:{name}".encode(), digest_size=8).digest() for name in names]
    return np.array([int.from_bytes(digest, "big", signed=True) for digest in hashed], np.int64)[which]


def p_values(claim: Claim, outcomes: Reals, groups: Ints, place: Ints, steps: int) -> Reals:
    """Evidence against "this step breaks the claim", for every step: small where it keeps it.

    Each is at most `a` with probability at most `a` where the step breaks the claim, for any number of groups. The bets
    aim at the claim's own confidence level: beyond it they stop, and how far short of it they fell means little.

    Args:
        claim: what is to be shown.
        outcomes: float64[N, 2], 0 or 1, of flash and pro; N > 0.
        groups: int64[N], rows of one group may depend on each other; bets are placed in ascending order of these
            numbers, which must not depend on outcomes, see `codes`.
        place: int64[N] in [1, K], the step from which a row goes to flash; K where it always goes to pro.
        steps: K; step 0 is always-pro.

    Returns:
        float64[K] in [0, 1]; 0 at step 0, where nothing can be lost.
    """
    sums = _Sums.of(claim, outcomes, groups, place, steps)
    goal = ROUNDING - np.log(claim.risk)
    wealth, highest, squares = np.zeros(steps), np.zeros(steps), np.full(steps, (sums.most / 2) ** 2)
    for start, end in _rounds(sums.groups):
        values, counts = sums.counted(start, end)
        left = (sums.groups - start) * squares / (start + 1)
        wager = _wager(goal - wealth, left, BOLDEST / sums.most)
        wealth += (counts * np.log1p(-wager[:, None] * values)).sum(axis=1)
        squares += (counts * values**2).sum(axis=1)
        np.maximum(highest, wealth, out=highest)
    smallest = np.exp(-highest)
    smallest[0] = 0.0
    return smallest


def _rounds(groups: int) -> Iterator[tuple[int, int]]:
    start = 0
    while start < groups:
        end = start + max(1, (groups - start) // REBETS)
        yield start, end
        start = end


def _wager(short: Reals, left: Reals, boldest: float) -> Reals:
    """What to bet per answer lost, float64[K]: the best constant bet for what is still short (arXiv 2505.22422).

    A bet that is constant from the beginning overshoots the goal half of the time, for nothing, and falls short for
    the rest. Aiming anew at the goal spends luck on safety and makes up for bad luck while there are groups left;
    that is nearly as good as a test that takes the sums as normal.

    Args:
        short: log of wealth that is missing to the goal; where nothing is missing, nothing more is bet.
        left: sum of squares expected of the groups not yet seen.
        boldest: largest bet.
    """
    return np.minimum(np.sqrt(2 * np.maximum(short, 0) / left), boldest)


def last_certified(p_values: Reals, claim: Claim) -> int:
    """The furthest step towards always-flash that may be served: it and all before it passed; 0 is always-pro."""
    failed = np.flatnonzero(p_values[1:] > claim.risk)
    return int(failed[0]) if len(failed) else len(p_values) - 1


def labels_needed(claim: Claim, outcomes: Reals, groups: Ints, place: Ints, steps: int) -> Reals:
    """About how many groups it takes to certify each step, were they all like these.

    That many let the best constant bet reach the goal in expectation, and those of `p_values` in 6 to 8 of 10 cases.

    Args:
        claim, outcomes, groups, place, steps: as for `p_values`.

    Returns:
        float64[K], never descending; infinite from the first step that breaks the claim on these rows.
    """
    sums = _Sums.of(claim, outcomes, groups, place, steps)
    wagers = np.geomspace(1e-4, BOLDEST, WAGERS) / sums.most
    growth = np.zeros((WAGERS, steps))
    for start in range(0, sums.groups, GROUPS_AT_ONCE):
        values, counts = sums.counted(start, start + GROUPS_AT_ONCE)
        for at, wager in enumerate(wagers):
            growth[at] += (counts * np.log1p(-wager * values)).sum(axis=1)
    best = growth.max(axis=0) / sums.groups
    needed = np.divide(-np.log(claim.risk), best, out=np.full(steps, np.inf), where=best > 0)
    needed[0] = 0.0
    return np.maximum.accumulate(needed)
