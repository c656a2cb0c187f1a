"""Where a router's decisions come from, and where they fail: heads, words and categories."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.graph import FEATURES
from features.vocabulary import WEIGHT_SCALE, Vocabulary
from pipeline import heads, router, tune
from pipeline.findings import Coefficient, Reliability, Slice, WordEffect
from pipeline.heads import Features
from pipeline.metrics import FLASH, PRO, Estimate, Reals, equal_count_bins, mean_estimates
from pipeline.observed import Observed
from pipeline.router import Router
from pipeline.schema import TIERS
from pipeline.traces import Traces
from pipeline.tune import OperatingPoint

WORDS_SHOWN = 15
FEWEST_TO_SLICE = 10
Z_95 = 1.96


def coefficients(fitted: Router, fit: Traces, features: Features) -> list[Coefficient]:
    """Standardised weights with 95 % intervals that are robust to groups; a feature that is constant is idle."""
    groups, balance = pd.factorize(fit.group)[0], router.category_weights(fit.category)
    errors = heads.standard_errors(
        fitted.heads, features, fit.outcomes, groups, fitted.smoothing.regularisation, balance
    )
    weights, idle = fitted.heads.standardised, features.min(0) == features.max(0)
    low, high = weights - Z_95 * errors, weights + Z_95 * errors
    return [
        Coefficient(
            feature=name,
            flash=Estimate(weights[at, FLASH], low[at, FLASH], high[at, FLASH]),
            pro=Estimate(weights[at, PRO], low[at, PRO], high[at, PRO]),
            idle=bool(idle[at]),
        )
        for at, name in enumerate(FEATURES)
    ]


def strongest(vocabulary: Vocabulary, tier: int, sign: int) -> list[WordEffect]:
    """The words that move a tier's log-odds of success most, up (sign 1) or down (-1)."""
    order = np.argsort(-sign * vocabulary.weights[:, tier], kind="stable")[:WORDS_SHOWN]
    return [
        WordEffect(
            vocabulary.words[at],
            float(vocabulary.weights[at, tier] / WEIGHT_SCALE),
            round(vocabulary.seen[at, tier]),
            float(vocabulary.correct[at, tier] / (vocabulary.seen[at, tier] or 1)),
        )
        for at in order
    ]


def reliability(test: Observed) -> dict[str, Reliability]:
    """Predicted against observed success of each head."""
    return {tier: _reliability(test.probabilities[:, at], test.outcomes[:, at]) for at, tier in enumerate(TIERS)}


def _reliability(predicted: Reals, observed: Reals) -> Reliability:
    _, place = np.unique(equal_count_bins(predicted), return_inverse=True)
    rows = np.bincount(place).astype(float)
    rate = np.bincount(place, observed) / rows
    low, high = wilson(rate, rows)
    return Reliability(np.bincount(place, predicted) / rows, rate, low, high, rows)


def wilson(rate: Reals, rows: Reals) -> tuple[Reals, Reals]:
    """Wilson's 95 % limits of a share observed on so many rows (Wilson 1927)."""
    middle = (rate + Z_95**2 / (2 * rows)) / (1 + Z_95**2 / rows)
    half = Z_95 * np.sqrt(rate * (1 - rate) / rows + Z_95**2 / (4 * rows**2)) / (1 + Z_95**2 / rows)
    return middle - half, middle + half


def slices(test: Observed, point: OperatingPoint, seed: int) -> list[Slice]:
    """Each category with at least `FEWEST_TO_SLICE` rows in the test part, the largest first."""
    to_pro = tune.to_pro(test, point)
    names, sizes = np.unique(test.category.astype(str), return_counts=True)
    kept = sorted(zip(-sizes, names, strict=True))
    return [_slice(name, test.category == name, to_pro, test, seed) for size, name in kept if -size >= FEWEST_TO_SLICE]


def _slice(name: str, rows: NDArray[np.bool_], to_pro: NDArray[np.bool_], test: Observed, seed: int) -> Slice:
    outcomes, share = test.outcomes[rows], to_pro[rows]
    flash, pro = outcomes.T
    routed = np.where(share, pro, flash)
    points = {"gain": 100 * (routed - flash), "loss": 100 * (pro - routed)}
    measured = mean_estimates(points, pd.factorize(test.groups[rows])[0], seed)
    return Slice(
        name or "(none)", int(rows.sum()), flash.mean(), pro.mean(), routed.mean(), share.mean(),
        measured["gain"], measured["loss"],
    )  # fmt: skip
