"""The router: a vocabulary and two heads, fitted so that no row has a part in its own features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray

from features.bags import Ints
from features.errors import LearningError
from features.measure import measure
from features.vocabulary import Counts, Vocabulary
from pipeline import heads
from pipeline.heads import Features, Heads
from pipeline.metrics import Reals
from pipeline.parts import folds
from pipeline.schema import TIERS
from pipeline.traces import Traces

STRENGTHS = (3.0, 10.0, 30.0, 100.0)
REGULARISATIONS = (0.1, 1.0)
CATEGORY_BALANCE = 0.75
SELECTION_FOLDS = 5
SELECTION_ROWS = 10_000
FEWEST_ROWS = 50
THREADS = 2


@dataclass(frozen=True, slots=True)
class Smoothing:
    """What is chosen inside the fit part.

    Attributes:
        strength: m of the vocabulary, in prompts.
        regularisation: C of the heads.
    """

    strength: float = 10.0
    regularisation: float = 1.0


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Rows that were fitted on, each as the vocabulary without its own group sees it; the heads have seen it.

    Attributes:
        features: float32[N, 10].
        evidence: float32[N].
    """

    features: Features
    evidence: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Router:
    """A fitted router."""

    vocabulary: Vocabulary
    heads: Heads
    smoothing: Smoothing

    def measure(self, traces: Traces) -> tuple[Features, NDArray[np.float32]]:
        """Features float32[N, 10] and evidence float32[N], as they are in serving."""
        return measure(traces.tally, self.vocabulary.sums(traces.bags, traces.encoder.lexicon))

    def see(self, traces: Traces) -> tuple[Features, NDArray[np.float32], Reals]:
        """What `measure` gives, and the probabilities, float64[N, 2]."""
        features, evidence = self.measure(traces)
        return features, evidence, self.heads.probabilities(features)

    def gain(self, traces: Traces) -> NDArray[np.float32]:
        """P(pro correct) - P(flash correct), float32[N], rounded as the exported file rounds it."""
        return self.gain_of(self.measure(traces)[0])

    def gain_of(self, features: Features) -> NDArray[np.float32]:
        """The gain from features, float32[N]."""
        flash, pro = self.heads.probabilities(features).astype(np.float32).T
        return np.asarray(pro - flash)


def counts(traces: Traces, weights: Reals | None = None) -> Counts:
    """The sums of the traces' words; `weights` as in `fit`."""
    return Counts(traces.bags, traces.outcomes, pd.factorize(traces.group)[0], traces.encoder.lexicon, weights)


def fit(
    traces: Traces, smoothing: Smoothing, weights: Reals | None = None, *, balanced: bool = True
) -> tuple[Router, LeftOut]:  # fmt: skip
    """Fit on all of the traces; returns the router and the leave-one-out features its heads were fitted on.

    Args:
        traces: to fit on.
        smoothing: of vocabulary and heads.
        weights: float64[N, 2], > 0, how often each outcome counts; once where not given.
        balanced: whether the heads count a row less, the more rows its category has; see `category_weights`.
    """
    words = counts(traces, weights)
    left_out = LeftOut(*measure(traces.tally, words.leave_one_out(smoothing.strength)))
    each = row_weights(traces.category, weights) if balanced else weights
    fitted = heads.fit(left_out.features, traces.outcomes, smoothing.regularisation, each)
    return Router(words.vocabulary(smoothing.strength), fitted, smoothing), left_out


def row_weights(category: NDArray[np.object_], weights: Reals | None) -> Reals:
    """How often each row counts in fitting the heads: float64[N], or float64[N, 2] where outcomes have weights."""
    balanced = category_weights(category)
    return balanced if weights is None else balanced[:, None] * weights


def category_weights(category: NDArray[np.object_]) -> Reals:
    """How often each row counts in fitting the heads, float64[N], mean 1: less, the more rows its category has.

    Kinds of task are what generalises. With plain rows the heads learn what holds inside the large categories and
    fall below chance on kinds never seen; with n ** -0.75 per row they do not, and lose next to nothing elsewhere.
    Rows without a category, as logs have them, are of all kinds and count once.
    """
    weights = np.ones(len(category))
    if (named := category != "").any():
        codes, _ = pd.factorize(category[named])
        balanced = np.bincount(codes)[codes].astype(float) ** -CATEGORY_BALANCE
        weights[named] = balanced / balanced.mean()
    return weights


def choose(traces: Traces, seed: int, weights: Reals | None = None) -> Smoothing:
    """The smoothing with the least log loss in cross-validation; on at most `SELECTION_ROWS` rows.

    `weights` as in `fit`; they count in the loss too.
    """
    rows = np.sort(np.random.default_rng(seed).permutation(len(traces))[:SELECTION_ROWS])
    sample = traces.take(rows)
    counted = None if weights is None else weights[rows]
    fold = folds(sample.group, labels(sample.outcomes), SELECTION_FOLDS, seed)
    losses = Parallel(n_jobs=THREADS, backend="threading")(
        delayed(_losses)(sample, np.flatnonzero(fold != held), np.flatnonzero(fold == held), counted)
        for held in np.unique(fold)
    )
    total = np.sum(losses, axis=0)
    return _grid()[int(np.argmin(total))]


def _grid() -> Sequence[Smoothing]:
    return [Smoothing(strength, c) for strength, c in product(STRENGTHS, REGULARISATIONS)]


def _losses(sample: Traces, inside: Ints, held: Ints, weights: Reals | None) -> Reals:
    """Log loss of both heads on the held rows for each smoothing of the grid, fitted on those inside, added up."""
    fitted, left = sample.take(inside), sample.take(held)
    own, counted = (None, 1.0) if weights is None else (weights[inside], weights[held])
    words, each, losses = counts(fitted, own), row_weights(fitted.category, own), []
    for strength in STRENGTHS:
        features, _ = measure(fitted.tally, words.leave_one_out(strength))
        vocabulary = words.vocabulary(strength)
        left_features, _ = measure(left.tally, vocabulary.sums(left.bags, left.encoder.lexicon))
        for c in REGULARISATIONS:
            predicted = heads.fit(features, fitted.outcomes, c, each).probabilities(left_features)
            chance = np.where(left.outcomes == 1, predicted, 1 - predicted)
            losses.append((-counted * np.log(np.clip(chance, 1e-9, 1)))[~np.isnan(left.outcomes)].sum())
    return np.array(losses)


def labels(outcomes: Reals) -> NDArray[np.int64]:
    """One label per combination of outcomes, int64[N]; not observed counts as a third value."""
    return np.asarray(np.nan_to_num(outcomes, nan=2.0).astype(np.int64) @ np.array([3, 1]))


def check_learnable(fit: Traces, tuned: Traces, test: Traces) -> list[str]:
    """Refuse parts that nothing can be learned from; returns warnings about tiers whose outcome never differs.

    Raises:
        LearningError: too few rows, a tier that was never observed, or tiers with equal outcomes everywhere.
    """
    for tier, column in zip(TIERS, fit.outcomes.T, strict=True):
        if np.isnan(column).all():
            raise LearningError(
                f"{fit.source}: no trace has an outcome of {tier}, so nothing says where the tiers differ: "
                f"ask {tier} a sample of the tasks and label its answers"
            )
    for name, part in (("fit", fit), ("tune", tuned), ("test", test)):
        known = int(part.both_observed.sum())
        if known < FEWEST_ROWS:
            raise LearningError(
                f"{fit.source}: only {known} traces in the {name} part have outcomes of both tiers, at least "
                f"{FEWEST_ROWS} are needed: label more tasks with both ({FEWEST_ROWS * 6} in all should do)"
            )
    both = fit.outcomes[fit.both_observed]
    if np.array_equal(both[:, 0], both[:, 1]):
        raise LearningError(
            f"{fit.source}: flash and pro have the same outcome on every row: serve flash, there is nothing to route"
        )
    return [
        warning for tier, column in zip(TIERS, fit.outcomes.T, strict=True) for warning in _never_differs(tier, column)
    ]


def _never_differs(tier: str, outcomes: Reals) -> list[str]:
    seen = outcomes[~np.isnan(outcomes)]
    if seen.min() < seen.max():
        return []
    answer = "right" if seen[0] else "wrong"
    return [f"{tier} was {answer} on every trace of the fit part: its probability is a constant"]
