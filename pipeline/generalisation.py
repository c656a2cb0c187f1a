"""How far a router carries: to kinds of task it never saw, and with fewer labels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy.stats import rankdata

from features.bags import Ints
from pipeline import heads, router
from pipeline.findings import LearningPoint, Policy, Splits
from pipeline.metrics import Estimate, Ranking, Reals, estimates
from pipeline.parts import category_folds, folds
from pipeline.policies import ROUTER_LABEL
from pipeline.router import THREADS, Smoothing
from pipeline.traces import Traces

FOLDS = 5
MOST_ROWS = 20_000
LEARNING_SIZES = (300, 1_000, 3_000, 10_000, 30_000)
LEARNING_SEEDS = 5
STUDENT_95_OF_FIVE = 2.776


def sample(traces: Traces, seed: int) -> Traces:
    """At most `MOST_ROWS` traces with both outcomes known, drawn by the seed, for cross-validation."""
    known = np.random.default_rng(seed).permutation(np.flatnonzero(traces.both_observed))
    return traces.take(np.sort(known[:MOST_ROWS]))


def splits(traces: Traces, smoothing: Smoothing, seed: int) -> list[Splits]:
    """APGR in cross-validation with random folds and with whole categories held out, for what can be compared.

    A request is ranked among those of its own fold, which one router scored: two routers' scores do not compare, and
    pooled as they are they would put even a constant below chance, since a fold rich in gain leaves the others poor
    in it. Intervals resample groups, and where categories are held out whole categories: those are the draws there.
    Both outcomes of every trace are known.
    """
    ways = {"random": folds(traces.group, router.labels(traces.outcomes), FOLDS, seed)}
    if len(set(traces.category)) > 1:
        ways["category"] = category_folds(traces.category, FOLDS, seed)
    clusters = {"random": pd.factorize(traces.group)[0], "category": pd.factorize(traces.category)[0]}
    apgr = {
        way: [
            estimates(_apgr(column, traces.outcomes), clusters[way], seed)["apgr"]
            for column in _cross_validated(traces, fold, smoothing)
        ]
        for way, fold in ways.items()
    }
    labels = (ROUTER_LABEL, "prompt length alone")
    return [
        Splits(label, apgr["random"][at], apgr["category"][at] if "category" in apgr else None)
        for at, label in enumerate(labels)
    ]


def _apgr(score: Reals, outcomes: Reals) -> Callable[[Reals], dict[str, float]]:
    ranking = Ranking.by(score, outcomes)
    return lambda weight: {"apgr": ranking.curve(weight).apgr()}


def _cross_validated(traces: Traces, fold: Ints, smoothing: Smoothing) -> Reals:
    """Out-of-fold ranks, in (0, 1], of the router's scores and of prompt length alone, float64[2, N]."""

    def held_out(held: int) -> tuple[Ints, Reals]:
        inside, outside = np.flatnonzero(fold != held), np.flatnonzero(fold == held)
        fitted, left_out = router.fit(traces.take(inside), smoothing)
        held_features, _ = fitted.measure(traces.take(outside))
        length = heads.fit(left_out.features[:, :1], traces.outcomes[inside], 1.0)
        both = fitted.heads.probabilities(held_features), length.probabilities(held_features[:, :1])
        return outside, np.stack([rankdata(np.diff(each)[:, 0]) / len(outside) for each in both])

    scores = np.empty((2, len(traces)))
    for rows, held_scores in Parallel(n_jobs=THREADS, backend="threading")(
        delayed(held_out)(k) for k in np.unique(fold)
    ):
        scores[:, rows] = held_scores
    return scores


def learning_curve(fit: Traces, test: Traces, smoothing: Smoothing, whole: Policy, seed: int) -> list[LearningPoint]:
    """APGR on the test part after fitting on fewer labels; the last point is the router itself.

    Args:
        fit: the fit part.
        test: the test part, both outcomes known.
        smoothing: of the router.
        whole: the router's policy, for the last point and its interval over test rows.
        seed: of the draws.
    """
    sizes = [size for size in LEARNING_SIZES if size < fit.both_observed.sum() / 1.5]
    random = np.random.default_rng(seed)
    labelled = np.flatnonzero(fit.both_observed)
    draws = [np.sort(random.permutation(labelled)[:size]) for size in sizes for _ in range(LEARNING_SEEDS)]

    asked = test.take(random.permutation(len(test))[:MOST_ROWS])

    def apgr(rows: Ints) -> float:
        fitted, _ = router.fit(fit.take(rows), smoothing)
        return Ranking.by(fitted.gain(asked).astype(float), asked.outcomes).curve().apgr()

    values = np.reshape(
        Parallel(n_jobs=THREADS, backend="threading")(delayed(apgr)(rows) for rows in draws), (-1, LEARNING_SEEDS)
    )
    points = [LearningPoint(size, _mean(row), LEARNING_SEEDS) for size, row in zip(sizes, values, strict=True)]
    return [*points, LearningPoint(len(fit), whole.metrics["apgr"], 1)]


def _mean(values: Reals) -> Estimate:
    half = STUDENT_95_OF_FIVE * values.std(ddof=1) / np.sqrt(len(values))
    return Estimate(float(values.mean()), float(values.mean() - half), float(values.mean() + half))
