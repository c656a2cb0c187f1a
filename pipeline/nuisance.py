"""What a log does not show: the outcome that each tier would have had, and how likely an outcome is to arrive.

Both are fitted across groups: no row has a part in what is expected of it (cross-fitting, arXiv 1608.00060, section 3),
so an estimate that leans on them (`pipeline.off_policy`) keeps its interval, however badly they fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from features.bags import Ints
from features.errors import InputError, LearningError
from pipeline.metrics import HEADS, Reals

FOLDS = 5
RIDGE = 1.0
MOST_STEPS = 50
CONVERGED = 1e-6
# Ten features take about five rows each of the rarer outcome before they say more than its share does.
FEWEST_OF_A_KIND = 10
# Where fewer outcomes arrive than this, a regression says only "hardly ever": one row would count a hundredfold.
LEAST_ARRIVAL = 0.01


@dataclass(frozen=True, slots=True)
class Asked:
    """N requests, which tiers were asked by a known chance, and what came of it.

    Rows of which the chances are not known (limits, fall-backs, no propensity) do not belong here.

    Attributes:
        outcomes: float64[N, 2], any bounded amount of flash and pro (1 correct, 0 wrong; or a cost), NaN not observed;
            those of tiers that were not asked are not read.
        asked: bool[N, 2], both in an audit, else one.
        chances: float64[N, 2] in [0, 1], of each tier being asked given the request; (1, 1) in an audit.
        groups: int64[N], rows of one group may depend on each other.
        design: float64[N, F], what outcomes and their arrival may depend on: known before the choice, time included.

    Raises:
        InputError: lengths differ, a chance is no probability, or a tier was asked against a chance of 0.
    """

    outcomes: Reals
    asked: NDArray[np.bool_]
    chances: Reals
    groups: Ints
    design: Reals

    def __post_init__(self) -> None:
        shapes = {name: getattr(self, name).shape for name in ("outcomes", "asked", "chances")}
        if set(shapes.values()) != {(len(self.groups), len(HEADS))} or len(self.design) != len(self.groups):
            raise InputError(f"{shapes}, {len(self.groups)} groups, {len(self.design)} rows of the design: all [N, 2]")
        if not ((self.chances >= 0) & (self.chances <= 1)).all():
            raise InputError("a chance of being asked is not in [0, 1]: leave out rows without a propensity")
        if not np.isfinite(self.design).all():
            raise InputError("the design has a value that is no number: leave out the row, or the column")
        if impossible := int((self.asked & (self.chances == 0)).sum()):
            raise InputError(f"{impossible:,} requests asked a tier whose chance of being asked is 0: check propensity")

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Which outcomes count as observed, bool[N, 2]."""
        return self.asked & np.isfinite(self.outcomes)


@dataclass(frozen=True, slots=True)
class Nuisances:
    """What is expected of N rows by what other groups showed.

    Attributes:
        expected: float64[N, 2], outcome of each tier.
        arrival: float64[N, 2] in [LEAST_ARRIVAL, 1], P(outcome observed | asked), 1 where all of a tier's were.
    """

    expected: Reals
    arrival: Reals


def nuisances(asked: Asked, seed: int, folds: int = FOLDS, expected: Reals | None = None) -> Nuisances:
    """Expected outcomes and their arrival, each row's by regressions on the groups of other folds.

    A logistic regression per tier, of outcomes as a share of the range they are observed in (for 1 and 0 the usual
    one; for other amounts that of Papke and Wooldridge 1996), so nothing is expected beyond what was seen. A tier with
    fewer than `FEWEST_OF_A_KIND` of either kind gets its mean. Outcomes have to be missing at random given the design.

    Args:
        asked: the rows.
        seed: of the division of the groups.
        folds: in [2, number of groups].
        expected: float64[N, 2] where they are known otherwise, as the cost of a call is by its tariff; must not
            depend on the outcomes of these rows.

    Raises:
        LearningError: there is no row.
    """
    if not len(asked):
        raise LearningError("no request whose tier was chosen by a known chance: nothing can be estimated")
    _, codes = np.unique(asked.groups, return_inverse=True)
    fold = np.random.default_rng(seed).permutation(codes.max() + 1)[codes] % folds
    design = _standardised(asked.design)
    if expected is None:
        expected = _crossed(design, asked.outcomes, asked.seen, fold)
    arrival = _crossed(design, asked.seen.astype(float), asked.asked, fold)
    return Nuisances(expected, np.maximum(arrival, LEAST_ARRIVAL))


def regressed(design: Reals, targets: Reals, other: Reals) -> Reals:
    """What targets in a range, float64[N], come to on other rows, float64[M], by one regression; see `nuisances`.

    Args:
        design, other: float64[N, F] and float64[M, F], with N and M at least 1.
        targets: of the first.
    """
    both = _standardised(np.concatenate([design, other]))
    return _predicted(both[: len(design)], targets, both[len(design) :], 0.0)


def _standardised(design: Reals) -> Reals:
    """The columns with mean 0 and variance 1, constant ones 0, and a last one of ones, float64[N, F + 1]."""
    spread = design.std(axis=0)
    scaled = (design - design.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return np.column_stack([scaled, np.ones(len(design))])


def _crossed(design: Reals, targets: Reals, known: NDArray[np.bool_], fold: Ints) -> Reals:
    """What the known targets of other folds say of each row's, float64[N, 2]."""
    predicted = np.empty_like(targets)
    for held in np.unique(fold):
        inside, outside = known & (fold != held)[:, None], fold == held
        overall = float(targets[inside].mean()) if inside.any() else 0.0
        for tier, learned in enumerate(inside.T):
            predicted[outside, tier] = _predicted(design[learned], targets[learned, tier], design[outside], overall)
    return predicted


def _predicted(design: Reals, target: Reals, other: Reals, otherwise: float) -> Reals:
    """The target of other rows, float64[M], by regression on these; `otherwise` where there are none."""
    if not len(target):
        return np.full(len(other), otherwise)
    low, high = target.min(), target.max()
    share = (target - low) / (high - low or 1.0)
    if min(share.sum(), (1 - share).sum()) < FEWEST_OF_A_KIND:
        return np.full(len(other), target.mean())
    return np.asarray(low + (high - low) * expit(other @ _weights(design, share)))


def _weights(design: Reals, share: Reals) -> Reals:
    """Ridge logistic regression of shares in [0, 1] by Newton's method, float64[F + 1]; the last column is free."""
    ridge = np.append(np.full(design.shape[1] - 1, RIDGE), 0.0)
    weights = np.append(np.zeros(design.shape[1] - 1), logit(share.mean()))
    loss = _loss(design, share, ridge, weights)
    for _ in range(MOST_STEPS):
        chance = expit(design @ weights)
        curvature = (design * (chance * (1 - chance))[:, None]).T @ design + np.diag(ridge)
        step = np.linalg.solve(curvature, design.T @ (share - chance) - ridge * weights)
        further = _loss(design, share, ridge, weights + step)
        while further > loss and np.abs(step).max() > CONVERGED:
            step /= 2
            further = _loss(design, share, ridge, weights + step)
        if np.abs(step).max() <= CONVERGED:
            break
        weights, loss = weights + step, further
    return weights


def _loss(design: Reals, share: Reals, ridge: Reals, weights: Reals) -> float:
    score = design @ weights
    return float(np.logaddexp(0, score).sum() - share @ score + ridge @ weights**2 / 2)
