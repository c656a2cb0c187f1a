"""What each tier would have got and cost on logged requests: doubly robust, so that logs serve where labels would.

Means of these amounts over requests are unbiased for any policy; single ones are noise, beyond any range.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.costs import Costs, Tariff
from pipeline.evidence import Evidence
from pipeline.metrics import Reals
from pipeline.nuisance import Asked, nuisances
from pipeline.observed import Observed
from pipeline.off_policy import pseudo
from pipeline.usage import COLUMNS, Usage

FURTHEST_LOG_ODDS = 6.0


@dataclass(frozen=True, slots=True)
class Amounts:
    """Of N requests about whose tiers something can be said.

    Attributes:
        evidence: the requests.
        asked: what was asked, with outcomes 1 correct and 0 wrong.
        arrival: float64[N, 2], probability that an outcome arrives.
        accuracy: float64[N, 2], doubly robust.
        costs: doubly robust; `settled` is what is expected.
        expected: float64[N, 2], P(correct) by regression on the other rows: less noise, and biased where that errs.
        expected_costs: that go with it.
    """

    evidence: Evidence
    asked: Asked
    arrival: Reals
    accuracy: Reals
    costs: Costs
    expected: Reals
    expected_costs: Costs

    def __len__(self) -> int:
        return len(self.accuracy)

    def take(self, rows: NDArray[np.integer]) -> Amounts:
        """Those of some requests, in that order."""
        evidence = self.evidence.take(rows)
        parts = {name: getattr(self.asked, name)[rows] for name in ("outcomes", "asked", "chances", "design")}
        asked = Asked(**parts, groups=evidence.rows.groups)
        return Amounts(
            evidence, asked, self.arrival[rows], self.accuracy[rows], self.costs.take(rows), self.expected[rows],
            self.expected_costs.take(rows),
        )  # fmt: skip


def infer(evidence: Evidence, tariff: Tariff, seed: int) -> Amounts:
    """The amounts of the usable rows of evidence.

    Outcomes have to be missing at random, given the features, the version's own probabilities, and the time.

    Args:
        evidence: at least one row of it usable.
        tariff: whose prices apply; what it expects of a call must not be learned from these rows.
        seed: of the division into folds.
    """
    used = evidence.take(np.flatnonzero(evidence.usable))
    rows = used.rows
    asked = Asked(rows.outcomes, used.asked, used.chances, rows.groups, design(rows))
    found = nuisances(asked, seed)
    accuracy = pseudo(asked, found)
    expected = tariff.costs(replace(rows, outcomes=found.expected, usage=_unknown(len(rows))))
    spent, arrived = tariff.costs(rows), np.isfinite(rows.outcomes)  # a cost counts where its outcome does
    api, delivery, waiting = (
        pseudo(
            replace(asked, outcomes=np.where(arrived, getattr(spent, name), np.nan)),
            replace(found, expected=getattr(expected, name)),
        )
        for name in ("api", "delivery", "waiting")
    )
    costs = replace(spent, api=api, delivery=delivery, waiting=waiting, settled=expected.settled)
    return Amounts(used, asked, found.arrival, accuracy, costs, found.expected, expected)


def design(rows: Observed) -> Reals:
    """What outcomes may depend on, float64[N, 14]: features, the version's own log-odds, what it knows, the time."""
    chance = rows.probabilities.clip(1e-6, 1 - 1e-6)
    odds = np.log(chance / (1 - chance)).clip(-FURTHEST_LOG_ODDS, FURTHEST_LOG_ODDS)
    return np.column_stack([rows.features, odds, rows.evidence, _standardised(rows.time)]).astype(float)


def _standardised(time: NDArray[np.datetime64]) -> Reals:
    """Time in standard deviations from its mean, float64[N]; 0 where not known."""
    known = ~np.isnat(time)
    seconds = np.zeros(len(time))
    if known.any():
        passed = (time[known] - time[known].min()) / np.timedelta64(1, "s")
        seconds[known] = (passed - passed.mean()) / (passed.std() or 1.0)
    return seconds


def _unknown(count: int) -> Usage:
    return Usage(**{name: np.full((count, 2), np.nan, np.float32) for name in COLUMNS})
