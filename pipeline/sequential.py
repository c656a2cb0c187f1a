"""A test that may be looked at after every row: whether a served version still keeps its claim.

Of every request stands how much more the claim promises than the version delivered, by doubly robust pseudo-outcomes
(arXiv 1103.4601) in which the version's own probabilities are what is expected. These were fixed before, so whatever
they are worth, the mean is at most 0 as long as the claim is kept. Whoever bets on more than that turns one into
twenty, at any time at all, with a chance of at most one in twenty (Ville's inequality; bets as tests: arXiv 2010.09686,
2210.01948). So wealth of 1 / level is an alarm.

A version that was good for months has lost such a bet many times over when it gets worse. So part of the stake is kept
back, and a share of it joins in each time that about as much has been seen as an alarm takes. The stakes add up to
one, so all of it together is still one fair bet (a mixture over the moment of the change).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log, sqrt

import numpy as np

from pipeline.guarantee import Claim
from pipeline.metrics import FLASH, PRO, Estimate, Reals

LEVEL = 0.05
# Bets per unit of the most that a row can take; the stake is divided among them. The bolder one is the best where
# accuracy falls by 5 to 10 points, the other one where it falls by 2 or 3 (bench, part watch).
BETS = (0.6, 0.2)
FIRST_STAKE = 0.5
# Sum of squares of what was bet on after which another stake joins: 10,000 rows at an exploration of 2 %, 200 audits.
BETWEEN_STAKES = 20.0
# The interval is narrowest about where so many squares were seen.
NARROWEST_AT = 10.0
FEWEST_FOR_INTERVAL = 100


def shortfalls(claim: Claim, outcomes: Reals, chances: Reals, expected: Reals, to_pro: np.ndarray) -> Reals:
    """What the claim promises of each request less what the version delivers of it, float64[N].

    The mean is at most 0 where the claim is kept, whatever is expected: expected + seen / chance * (outcome - expected)
    has the mean of the outcome.

    Args:
        claim: of the version.
        outcomes: float64[N, 2], 1 or 0; NaN where not seen.
        chances: float64[N, 2] in (0, 1], of being seen, given the request; 1 in an audit.
        expected: float64[N, 2] in [0, 1], fixed before the outcomes were known.
        to_pro: bool[N], what the version chooses when it does not explore.
    """
    seen = ~np.isnan(outcomes)
    found = expected + np.where(seen, (np.nan_to_num(outcomes) - expected) / chances, 0.0)
    delivered = np.where(to_pro, found[:, PRO], found[:, FLASH])
    promised = claim.bound * found[:, PRO] if claim.form == "ratio" else found[:, PRO] - claim.bound
    return np.asarray(promised - delivered)


def span(claim: Claim, least: float) -> float:
    """The most by which a shortfall can be below 0, where no chance is below `least` and a log shows one tier of two.

    In an audit, where both are shown, by least = 1.
    """
    return 1 / least + (claim.bound if claim.form == "points" else 0.0)


@dataclass(frozen=True, slots=True)
class Bets:
    """A bet that is going on. Nothing of the rows is kept but sums.

    Attributes:
        live: log of the wealth of each of `BETS`, as a share of the stake of one.
        reserve: stake that has not joined yet, in (0, 1).
        stakes: how many have joined after the first.
        highest: log of the most wealth that there was after any row.
        rows: number of rows.
        total, squares: sums of what was bet on, and of its squares.
        scale, scale_squares, products: sums of the rows' scales, of their squares, and of both multiplied.
    """

    live: tuple[float, ...] = (log(FIRST_STAKE),) * len(BETS)
    reserve: float = 1 - FIRST_STAKE
    stakes: int = 0
    highest: float = 0.0
    rows: int = 0
    total: float = 0.0
    squares: float = 0.0
    scale: float = 0.0
    scale_squares: float = 0.0
    products: float = 0.0

    @property
    def wealth(self) -> float:
        """Log of the wealth now; 0 at the beginning."""
        return float(np.logaddexp(np.logaddexp.reduce(self.live) - log(len(BETS)), log(self.reserve)))

    def alarm(self, level: float) -> bool:
        """Whether the claim is broken, by an error that happens to a version that keeps it with probability `level`."""
        return self.highest >= -log(level)

    def after(self, shortfall: Reals, scale: Reals) -> Bets:
        """The bet after more rows; row by row or all at once is the same.

        Args:
            shortfall: float64[N], of `shortfalls`, in the order of arrival.
            scale: float64[N], by which they are multiplied to be no less than -1: 1 / `span`, or less of it. It may
                depend on rows before and on how a row was sampled, not on its outcome.
        """
        x, bet, start = shortfall * scale, self, 0
        squares = self.squares + np.cumsum(x * x)
        while start < len(x):
            due = BETWEEN_STAKES * (bet.stakes + 1)
            crossed = int(np.searchsorted(squares, due))
            end = min(max(crossed, start) + 1, len(x))
            bet = _played(bet, x[start:end])
            if crossed < len(x):
                bet = _joined(bet)
            start = end
        return replace(
            bet,
            rows=self.rows + len(x),
            total=self.total + float(x.sum()),
            squares=float(squares[-1]) if len(x) else self.squares,
            scale=self.scale + float(scale.sum()),
            scale_squares=self.scale_squares + float(scale @ scale),
            products=self.products + float(x @ scale),
        )

    def standing(self, level: float) -> Estimate | None:
        """Accuracy above the claim (below: negative) since the beginning, with an interval that holds at all times.

        Rows count by the inverse of their span, about that of their variance. The interval is asymptotic (arXiv
        2103.06476, theorem 2.2 with an estimated variance); the alarm does not rest on it. None where there are too few
        rows for that.
        """
        if self.rows < FEWEST_FOR_INTERVAL:
            return None
        mean = self.total / self.scale
        spread = max(self.squares - 2 * mean * self.products + mean**2 * self.scale_squares, 0.0)
        if not spread:
            return None
        aim = (-2 * log(level) + log(1 - 2 * log(level))) / NARROWEST_AT
        half = sqrt((spread * aim + 1) / aim * log((spread * aim + 1) / level**2)) / self.scale
        return Estimate(-mean, -mean - half, -mean + half)


def _played(bet: Bets, x: Reals) -> Bets:
    paths = np.array(bet.live) + np.cumsum(np.log1p(np.outer(x, BETS)), axis=0)
    wealth = np.logaddexp(np.logaddexp.reduce(paths, axis=1) - log(len(BETS)), log(bet.reserve))
    return replace(bet, live=tuple(paths[-1].tolist()), highest=max(bet.highest, float(wealth.max())))


def _joined(bet: Bets) -> Bets:
    """Another stake joins; the n-th is 1 / (n * (n + 1)) of what was kept back at first, so all together are it."""
    number = bet.stakes + 1
    stake = (1 - FIRST_STAKE) / (number * (number + 1))
    live = tuple(np.logaddexp(bet.live, log(stake)).tolist())
    return replace(bet, live=live, reserve=(1 - FIRST_STAKE) / (number + 1), stakes=number)
