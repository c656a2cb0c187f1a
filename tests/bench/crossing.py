"""Cross-validation of anything that scores requests, and the errors of what comes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from features.bags import Ints
from pipeline.metrics import Ranking, Reals, resampled
from pipeline.parts import folds
from pipeline.router import labels
from pipeline.traces import Traces

FOLDS = 5
THREADS = 2

# Scores of the held rows by name, from the rows to fit on, the held rows, and a seed.
Scorer = Callable[[Traces, Traces, int], dict[str, Reals]]


@dataclass(frozen=True, slots=True)
class Measured:
    """An APGR, the mean over seeds.

    Attributes:
        value: the mean.
        by_seed: [S].
        draws: [B], the mean under each bootstrap replicate.
    """

    value: float
    by_seed: Reals
    draws: Reals

    @property
    def error(self) -> float:
        """Standard error over what was resampled."""
        return float(self.draws.std(ddof=1))

    @property
    def seed_error(self) -> float:
        """Standard error over seeds, that is over the draws of folds; NaN with one seed."""
        count = len(self.by_seed)
        return float(self.by_seed.std(ddof=1) / np.sqrt(count)) if count > 1 else float("nan")

    def behind(self) -> str:
        """The errors in words."""
        return f"± {self.error:.3f} (rows), ± {self.seed_error:.4f} ({len(self.by_seed)} seeds)"

    def beyond(self, other: Measured) -> str:
        """By how much this is more than another on the same rows, seeds and replicates."""
        seeds = min(len(self.by_seed), len(other.by_seed))
        difference = float((self.by_seed[:seeds] - other.by_seed[:seeds]).mean())
        return f"{difference:+.3f} ± {float((self.draws - other.draws).std(ddof=1)):.3f}"


def stratified(traces: Traces, seed: int) -> Ints:
    """Random folds with the four outcomes spread evenly, groups whole."""
    return folds(traces.group, labels(traces.outcomes), FOLDS, seed)


def crossed(traces: Traces, fold: Ints, scorer: Scorer, seed: int) -> dict[str, Reals]:
    """Scores of every row by what was fitted on the other folds, by name, float64[N]."""

    def held_out(held: int) -> tuple[Ints, dict[str, Reals]]:
        inside, outside = np.flatnonzero(fold != held), np.flatnonzero(fold == held)
        return outside, scorer(traces.take(inside), traces.take(outside), seed)

    scores: dict[str, Reals] = {}
    pieces = Parallel(n_jobs=THREADS, backend="threading")(delayed(held_out)(held) for held in np.unique(fold))
    for rows, piece in pieces:
        for name, values in piece.items():
            scores.setdefault(name, np.empty(len(traces)))[rows] = values
    return scores


def apgr(score: Reals, outcomes: Reals) -> float:
    """APGR of scores."""
    return Ranking.by(score, outcomes).curve().apgr()


def measured(scores: Sequence[Reals], outcomes: Reals, clusters: NDArray[np.int64] | None = None) -> Measured:
    """Mean APGR over seeds, with replicates that draw whole clusters (rows, where none are given)."""
    clusters = np.arange(len(outcomes)) if clusters is None else clusters
    rankings = [Ranking.by(score, outcomes) for score in scores]
    by_seed = np.array([ranking.curve().apgr() for ranking in rankings])
    draws = [np.mean([ranking.curve(weight).apgr() for ranking in rankings]) for weight in resampled(clusters, 0)]
    return Measured(float(by_seed.mean()), by_seed, np.array(draws))
