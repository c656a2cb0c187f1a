"""What another policy would have achieved, from the logs of the one that served.

Doubly robust estimates (Robins and Rotnitzky 1995; for policies: Dudik et al., arXiv 1103.4601) with cross-fitted
nuisances (arXiv 1608.00060), beside inverse-propensity ones, plain (IPS) and self-normalised (SNIPS). No weight is
clipped: where the logs cannot say, `Overlap.check` refuses instead. Accuracy and costs are amounts alike.

Groups of rows have to be independent draws, and outcomes missing at random given the design.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from features.bags import Ints
from features.errors import LearningError
from pipeline.metrics import FLASH, PRO, Estimate, Reals
from pipeline.nuisance import Asked, Nuisances

# Probability of each request of going to pro, float64[N], or whether it does, bool[N].
ToPro = Reals | NDArray[np.bool_]

CONFIDENCE_LEVEL = 0.95
MOST_UNCOVERED = 0.005
FEWEST_EFFECTIVE = 50
FEWEST_TELLING = 5
EXACTLY = 1e-12


@dataclass(frozen=True, slots=True)
class Inferred(Estimate):
    """A mean with its 95 % interval, `value`, `low`, `high`, and what the interval is made of.

    Attributes:
        standard_error: the rows of a group vary together; infinite with one group.
        groups: of the rows.
        freedom: degrees of freedom of the standard error, at least 1: few where few groups carry most of it.
    """

    standard_error: float
    groups: int
    freedom: float

    def reach(self, confidence_level: float) -> float:
        """How far a two-sided interval reaches to either side; confidence level in (0, 1).

        A one-sided bound at level 1 - a is that of the two-sided interval at 1 - 2a.
        """
        return _reach(self.standard_error, self.freedom, confidence_level)


@dataclass(frozen=True, slots=True)
class Overlap:
    """How far logs tell of a policy, by the chances alone: what was asked by luck, and not, changes nothing.

    Attributes:
        effective: as many groups, all asked what the policy would ask, would tell as much (Kish's effective sample
            size, with expected squares of the weights).
        telling: how many groups carry most of the variance: of a policy far from the logged one, about as many as
            were explored and answered.
        uncovered: share of the requests that the policy sends where the logs never ask, in [0, 1].
        largest: most that one row can count, 1 being what it counts where its chance is 1.
    """

    effective: float
    telling: float
    uncovered: float
    largest: float

    @property
    def covers(self) -> bool:
        """Whether the logs ask, by some chance, nearly all that the policy would ask."""
        return self.uncovered <= MOST_UNCOVERED

    def check(self) -> None:
        """Refuse where the logs do not tell enough of the policy.

        Raises:
            LearningError: more than `MOST_UNCOVERED` of the requests go where the logs never ask, or fewer groups than
                `FEWEST_EFFECTIVE` or `FEWEST_TELLING` are left.
        """
        remedy = "explore more (explore under [serving]), or ask both tiers a sample (tier-router collect)"
        if not self.covers:
            raise LearningError(
                f"the logs do not overlap with this policy: {self.uncovered:.1%} of the requests would go to a tier "
                f"that is never asked such a request, at most {MOST_UNCOVERED:.1%} may: {remedy}"
            )
        if self.effective < FEWEST_EFFECTIVE or self.telling < FEWEST_TELLING:
            raise LearningError(
                f"the logs hardly overlap with this policy: they tell as much of it as {self.effective:.0f} requests "
                f"would, {self.telling:.0f} of them most, at least {FEWEST_EFFECTIVE} and {FEWEST_TELLING} are needed: "
                f"{remedy}, or wait for more outcomes"
            )


def pseudo(asked: Asked, nuisances: Nuisances) -> Reals:
    """Doubly robust outcome of each tier, float64[N, 2]: means over requests are unbiased, single ones are noise.

    expected + seen / (chance * arrival) * (outcome - expected); the expected part alone where the chance is 0, which
    `overlap` counts.
    """
    surprise = np.where(asked.seen, asked.outcomes, nuisances.expected) - nuisances.expected
    return np.asarray(nuisances.expected + _inverse(asked, nuisances) * surprise)


def doubly_robust(pseudo: Reals, to_pro: ToPro, groups: Ints) -> Inferred:
    """Mean outcome of a policy.

    Args:
        pseudo: float64[N, 2], as `pseudo` gives them.
        to_pro: float64[N] in [0, 1], probability that the policy sends a request to pro; or bool[N], whether it does.
        groups: int64[N].
    """
    return _mean(_chosen(pseudo, to_pro), groups)


def compare(
    pseudo: Reals, to_pro: ToPro, other_to_pro: ToPro, groups: Ints, least_variance: float = 0.0
) -> Inferred:  # fmt: skip
    """Mean outcome of a policy minus that of another, on the same rows.

    Where the two hardly ever differ, or rows of an audit happen to agree, it looks more certain than it is: `pooled`
    of it alone allows for that.

    Args:
        pseudo, to_pro, groups: as in `doubly_robust`.
        other_to_pro: of the other policy.
        least_variance: of the mean, whatever the rows look like; see `explored_variance`.
    """
    found = _mean(_chosen(pseudo, to_pro) - _chosen(pseudo, other_to_pro), groups)
    return _inferred(found.value, max(found.standard_error, least_variance**0.5), found.groups, found.freedom)


def explored_variance(asked: Asked, arrival: Reals, noise: Reals, to_pro: ToPro, other_to_pro: ToPro) -> float:
    """Variance that outcomes bring into `compare`, by the chances they were seen with: the sum of noise / chance.

    Only a handful of explored rows may tell where two policies differ, and look certain if they all went well. How
    likely they were to be seen is known of every row.

    Args:
        asked: the rows.
        arrival: float64[N, 2], as in `Nuisances`.
        noise: float64[N, 2], variance of the outcome of each tier, given the request.
        to_pro, other_to_pro: of the two policies.
    """
    likely = asked.chances * arrival
    spread = np.divide(noise, likely, out=np.zeros(likely.shape), where=likely > 0).sum(axis=1)
    differ = np.asarray(to_pro, float) - np.asarray(other_to_pro, float)
    return float((differ**2 * spread).sum() / len(asked) ** 2) if len(asked) else 0.0


def ips(asked: Asked, nuisances: Nuisances, to_pro: ToPro) -> Inferred:
    """Mean outcome of a policy by inverse-propensity weights; of the nuisances, arrival alone is read."""
    outcomes = np.where(asked.seen, asked.outcomes, 0.0)
    return _mean(_chosen(_inverse(asked, nuisances) * outcomes, to_pro), asked.groups)


def self_normalised(asked: Asked, nuisances: Nuisances, to_pro: ToPro) -> Inferred:
    """The same divided by the mean of the weights (SNIPS); its error by the delta method.

    NaN where no outcome has a weight.
    """
    weights = _inverse(asked, nuisances)
    amounts = _chosen(weights * np.where(asked.seen, asked.outcomes, 0.0), to_pro)
    return _ratio(amounts, _chosen(weights, to_pro), asked.groups)


def naive(asked: Asked, to_pro: ToPro) -> Inferred:
    """Mean outcome of the rows on which the log happened to agree with the policy: wrong, to be shown beside.

    Which requests the log sent to a tier, and whose outcomes arrived, is not taken into account. NaN where none agrees.
    """
    outcomes = np.where(asked.seen, asked.outcomes, 0.0)
    return _ratio(_chosen(outcomes, to_pro), _chosen(asked.seen.astype(float), to_pro), asked.groups)


def overlap(asked: Asked, to_pro: ToPro) -> Overlap:
    """How far the logs tell of a policy.

    With w the weight of a row, 1 / chance where what the policy would ask was asked and answered, and W its sum over a
    group, `effective` is (sum of E W)^2 / sum of E W^2 and `telling` (sum of E W^2)^2 / sum of E W^4. Outcomes are
    taken to arrive at one rate, and rows of one group to be asked independently.
    """
    share = np.stack([1 - np.asarray(to_pro, float), np.asarray(to_pro, float)], 1)
    covered = asked.chances > 0
    inverse = np.divide(1.0, asked.chances, out=np.zeros(covered.shape), where=covered)
    reached = (share * covered).sum(axis=1)
    rate = asked.seen.sum() / max(asked.asked.sum(), 1) or np.nan
    both = asked.chances.sum(axis=1) > 1 + EXACTLY
    powers = (
        np.where(both, 1.0, (share**power * inverse ** (power - 1)).sum(axis=1)) / rate ** (power - 1) - reached**power
        for power in (2, 4)
    )
    squares, fourths = (_by_group(each, asked.groups) for each in powers)
    sizes = _by_group(reached, asked.groups)
    squares, fourths = squares + sizes**2, fourths + sizes**4
    return Overlap(
        effective=_quotient(sizes.sum() ** 2, squares.sum()),
        telling=_quotient(squares.sum() ** 2, fourths.sum()),
        uncovered=float(1 - reached.mean()) if len(asked) else 1.0,
        largest=float((share * inverse).max(initial=0.0)),
    )


def pooled(estimates: Sequence[Inferred], largest: float = 1.0) -> Inferred:
    """Independent estimates of one quantity (from an audit, from logs) as one, by inverse variance.

    Each variance counts as if one more group had been seen, with the largest difference that there can be: an audit of
    fifty in which nothing differs is not certain, and does not silence the logs. Precision is estimated from the same
    rows, so the mean leans to what happened to look sharp: by 0.002 in the bench, where errors are 0.02.

    Args:
        estimates: one or more; of a single one, that variance is all that changes.
        largest: that the amount of one request, at full weight, can differ from its mean, > 0.
    """
    counts, weights = sum(each.groups for each in estimates), np.array([_weight(each, largest) for each in estimates])
    if not weights.any():
        return estimates[0]
    value = float(weights @ [each.value for each in estimates] / weights.sum())
    doubt = float((weights**2 / [each.freedom for each in estimates]).sum())  # Welch-Satterthwaite
    freedom = float(weights.sum() ** 2 / doubt) if doubt else float("inf")
    return _inferred(value, float(weights.sum() ** -0.5), counts, freedom)


def _weight(estimate: Inferred, largest: float) -> float:
    return float(1 / (estimate.standard_error**2 + (largest / estimate.groups) ** 2))


def _inverse(asked: Asked, nuisances: Nuisances) -> Reals:
    """1 / (chance * arrival) of what was observed, float64[N, 2]; 0 elsewhere."""
    likely = asked.chances * nuisances.arrival
    return np.divide(1.0, likely, out=np.zeros(likely.shape), where=asked.seen)


def _chosen(amounts: Reals, to_pro: ToPro) -> Reals:
    """What each request gets under a policy, float64[N]."""
    return np.asarray(amounts[:, FLASH] * (1.0 - to_pro) + amounts[:, PRO] * to_pro)


def _mean(amounts: Reals, groups: Ints) -> Inferred:
    return _ratio(amounts, np.ones(len(amounts)), groups)


def _ratio(amounts: Reals, weights: Reals, groups: Ints) -> Inferred:
    """Sum of the amounts divided by that of the weights; groups are drawn, with all their rows (Liang and Zeger 1986).

    The degrees of freedom are Satterthwaite's (1946), by the fourth moment of the groups' parts instead of that of a
    normal distribution: 2 V^2 / Var(V). A standard error made by a dozen explored rows is itself a guess.
    """
    total = weights.sum()
    if not total > 0:
        return _inferred(float("nan"), float("nan"), len(np.unique(groups)), 1.0)
    value = float(amounts.sum() / total)
    parts = _by_group(amounts - value * weights, groups) / total
    count, squares = len(parts), float((parts**2).sum())
    if count == 1:
        return _inferred(value, float("inf"), 1, 1.0)
    spread = float((parts**4).sum()) / squares**2 - 1 / count if squares else 0.0
    freedom = max(2 / spread, 1.0) if spread > EXACTLY else float("inf")
    return _inferred(value, float(np.sqrt(squares * count / (count - 1))), count, freedom)


def _inferred(value: float, error: float, groups: int, freedom: float) -> Inferred:
    reach = _reach(error, freedom, CONFIDENCE_LEVEL)
    return Inferred(value, value - reach, value + reach, error, groups, freedom)


def _reach(error: float, freedom: float, confidence_level: float) -> float:
    return float(student.ppf((1 + confidence_level) / 2, freedom)) * error


def _by_group(values: Reals, groups: Ints) -> Reals:
    """Sums over groups, float64[G]."""
    return np.asarray(np.bincount(np.unique(groups, return_inverse=True)[1], weights=values), float)


def _quotient(one: float, other: float) -> float:
    """0 where not defined."""
    return float(one / other) if other > 0 else 0.0
