"""The router beside its baselines on the untouched test part, and how far each carries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy.stats import rankdata

from features.bags import Ints
from features.graph import FEATURES
from features.vocabulary import WEIGHT_SCALE, Vocabulary
from pipeline import baselines, heads, router, tune
from pipeline.baselines import Baseline
from pipeline.config import RELATIVE_COSTS, Config
from pipeline.findings import Coefficient, Findings, LearningPoint, Policy, Reliability, Slice, Splits, WordEffect
from pipeline.heads import Features
from pipeline.metrics import (
    FLASH,
    PRO,
    Estimate,
    Ranking,
    Reals,
    decision_metrics,
    equal_count_bins,
    estimates,
    needs_pro,
    probability_metrics,
    ranking_metrics,
)
from pipeline.parts import category_folds, folds
from pipeline.router import Router, Smoothing
from pipeline.schema import TIERS
from pipeline.traces import Traces
from pipeline.tune import OperatingPoint

Step = Callable[[str], None]

ROUTER_LABEL = "ten features (this router)"
WORDS_SHOWN = 15
CROSS_VALIDATION_FOLDS = 5
CROSS_VALIDATION_ROWS = 20_000
LEARNING_SIZES = (300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000)
LEARNING_SEEDS = 5
STUDENT_95_OF_FIVE = 2.776
FEWEST_TO_SLICE = 10
Z_95 = 1.96
THREADS = 2


@dataclass(frozen=True, slots=True)
class Evidence:
    """A part with both outcomes observed, and what the router makes of it."""

    traces: Traces
    features: Features
    evidence: NDArray[np.float32]
    probabilities: Reals
    gain: NDArray[np.float32]

    @property
    def groups(self) -> Ints:
        """Codes of the groups, int64[N]."""
        return pd.factorize(self.traces.group)[0]


def observe(fitted: Router, traces: Traces) -> Evidence:
    """What the router makes of the traces whose outcomes are both known."""
    known = traces.take(np.flatnonzero(traces.both_observed))
    features, evidence = fitted.measure(known)
    probabilities = fitted.heads.probabilities(features)
    flash, pro = probabilities.astype(np.float32).T
    return Evidence(known, features, evidence, probabilities, pro - flash)


def evaluate(
    traces: Traces, fit: Traces, fit_features: Features, fitted: Router, tuned: Evidence, test: Evidence,
    point: OperatingPoint, config: Config, warnings: Sequence[str], step: Step,
) -> Findings:  # fmt: skip
    """Measure everything that the report shows.

    Args:
        traces: all of them, for cross-validation.
        fit, fit_features: the fit part and the features that the heads were fitted on.
        fitted: the router.
        tuned, test: what the router makes of the other parts.
        point: its operating point.
        config: quality to keep and seed.
        warnings: sentences that the reader must not miss.
        step: called as each kind of measurement begins.
    """
    seed = config.seed
    step("evaluating: baselines")
    table = policies(fit, fit_features, tuned, test, point, config.min_quality, RELATIVE_COSTS, seed)
    whole = next(policy for policy in table if policy.name == "router")
    step("evaluating: unseen kinds of task")
    carried = splits(traces, fitted.smoothing, seed)
    step("evaluating: learning curve")
    learning = learning_curve(fit, test, fitted.smoothing, whole, seed)
    groups, balance = pd.factorize(fit.group)[0], router.category_weights(fit.category)
    errors = heads.standard_errors(
        fitted.heads, fit_features, fit.outcomes, groups, fitted.smoothing.regularisation, balance
    )
    weights = coefficients(fitted.heads.standardised, errors, fit_features)
    idle = [weight.feature for weight in weights if weight.idle]
    if idle:
        warnings = [*warnings, f"idle, because constant in these traces: {', '.join(idle)}"]
    return Findings(
        policies=table,
        reliability=reliability(test),
        slices=slices(test, point, seed),
        coefficients=weights,
        helping={tier: strongest(fitted.vocabulary, at, 1) for at, tier in enumerate(TIERS)},
        hurting={tier: strongest(fitted.vocabulary, at, -1) for at, tier in enumerate(TIERS)},
        learning=learning,
        splits=carried,
        warnings=warnings,
    )


def coefficients(weights: Reals, errors: Reals, features: Features) -> list[Coefficient]:
    """Standardised weights with Wald 95 % intervals; a feature that is constant is idle."""
    idle = features.min(0) == features.max(0)
    low, high = weights - Z_95 * errors, weights + Z_95 * errors
    return [
        Coefficient(name, *(Estimate(weights[at, t], low[at, t], high[at, t]) for t in (FLASH, PRO)), bool(idle[at]))
        for at, name in enumerate(FEATURES)
    ]


def strongest(vocabulary: Vocabulary, tier: int, sign: int) -> list[WordEffect]:
    """The words that move a tier's log-odds of success most, up (sign 1) or down (-1)."""
    order = np.argsort(-sign * vocabulary.weights[:, tier], kind="stable")[:WORDS_SHOWN]
    return [
        WordEffect(
            vocabulary.words[at],
            float(vocabulary.weights[at, tier] / WEIGHT_SCALE),
            int(vocabulary.seen[at, tier]),
            float(vocabulary.correct[at, tier] / max(vocabulary.seen[at, tier], 1)),
        )
        for at in order
    ]


def policies(
    fit: Traces, fit_features: Features, tuned: Evidence, test: Evidence, point: OperatingPoint, quality: float,
    costs: tuple[float, float], seed: int,
) -> list[Policy]:  # fmt: skip
    """Every policy of the table on the test part, each learned one at its own threshold for the same quality.

    Args:
        fit, fit_features: rows that the baselines are fitted on, and their ten features.
        tuned: the tune part, on which each policy's threshold is chosen.
        test: the test part.
        point: the router's operating point.
        quality: share of always-pro's accuracy to keep.
        costs: of a request at flash and at pro.
        seed: of the resampling.
    """
    known = np.flatnonzero(fit.both_observed)
    rivals = baselines.fit_all(fit.take(known), fit_features[known], seed)
    measured = Parallel(n_jobs=THREADS, backend="threading")(
        [delayed(_rival)(rival, tuned, test, quality, costs, seed) for rival in rivals]
        + [delayed(router_policy)(test, point, costs, seed)]
    )
    outcomes = test.traces.outcomes
    rate = tune.random_rate(tuned.traces.outcomes, quality)
    chance = _constant("random", "random", rate, test, costs, seed, "its APGR and CPT are their expected values")
    expected = {"apgr": 0.5, "cpt50": 0.5, "cpt80": 0.8}
    drawn = {name: Estimate(value, value, value) for name, value in expected.items()}
    return [
        *constants(test, costs, seed),
        replace(chance, metrics=chance.metrics | drawn),
        *measured,
        oracle(test, costs, seed),
    ]


def served_policies(test: Evidence, point: OperatingPoint, costs: tuple[float, float], seed: int) -> list[Policy]:
    """What a version does on some traces, between the constants and the oracle."""
    return [*constants(test, costs, seed), router_policy(test, point, costs, seed), oracle(test, costs, seed)]


def constants(test: Evidence, costs: tuple[float, float], seed: int) -> list[Policy]:
    """Always flash and always pro."""
    return [
        _constant("always_flash", "always flash", 0.0, test, costs, seed),
        _constant("always_pro", "always pro", 1.0, test, costs, seed),
    ]


def _constant(
    name: str, label: str, rate: float, test: Evidence, costs: tuple[float, float], seed: int, note: str = ""
) -> Policy:
    outcomes = test.traces.outcomes
    measure = decision_metrics(np.full(len(outcomes), rate), outcomes, costs)
    return Policy(name, label, estimates(measure, test.groups, seed), note=note)


def _rival(
    rival: Baseline, tuned: Evidence, test: Evidence, quality: float, costs: tuple[float, float], seed: int
) -> Policy:
    scores = rival.score(test.traces, test.features)
    point = tune.for_quality(rival.score(tuned.traces, tuned.features), tuned.traces.outcomes, 0.0, quality)
    return _scored(rival.name, rival.label, scores, scores >= point.threshold, test, costs, seed, rival.note)


def router_policy(test: Evidence, point: OperatingPoint, costs: tuple[float, float], seed: int) -> Policy:
    """The router itself, with the calibration of its heads."""
    scores = tune.scores(test.gain, test.evidence, point.evidence_floor)
    policy = _scored("router", ROUTER_LABEL, scores, tune.sends_to_pro(scores, point.threshold), test, costs, seed)
    calibration = estimates(probability_metrics(test.probabilities, test.traces.outcomes), test.groups, seed)
    return Policy(policy.name, policy.label, {**policy.metrics, **calibration}, policy.curve)


def oracle(test: Evidence, costs: tuple[float, float], seed: int) -> Policy:
    """Pro exactly where it is right and flash is wrong: what no router can beat."""
    outcomes = test.traces.outcomes
    needed = outcomes[:, PRO] - outcomes[:, FLASH]
    note = "knows the outcomes; no router can do better"
    return _scored("oracle", "oracle", needed, needs_pro(outcomes), test, costs, seed, note)


def _scored(
    name: str, label: str, scores: Reals, to_pro: NDArray[np.bool_], test: Evidence, costs: tuple[float, float],
    seed: int, note: str = "",
) -> Policy:  # fmt: skip
    outcomes = test.traces.outcomes
    ranked, decided = ranking_metrics(scores, outcomes), decision_metrics(to_pro.astype(float), outcomes, costs)
    measured = estimates(lambda weight: ranked(weight) | decided(weight), test.groups, seed)
    if measured["gap"].low <= 0 <= measured["gap"].high:
        measured |= dict.fromkeys(("apgr", "cpt50", "cpt80", "pgr"), Estimate(np.nan, np.nan, np.nan))
    return Policy(name, label, measured, Ranking.by(scores, outcomes).curve(), note)


def reliability(test: Evidence) -> dict[str, Reliability]:
    """Predicted against observed success of each head."""
    return {tier: _reliability(test.probabilities[:, at], test.traces.outcomes[:, at]) for at, tier in enumerate(TIERS)}


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


def slices(test: Evidence, point: OperatingPoint, seed: int) -> list[Slice]:
    """Each category with at least `FEWEST_TO_SLICE` rows in the test part, the largest first."""
    to_pro = tune.sends_to_pro(tune.scores(test.gain, test.evidence, point.evidence_floor), point.threshold)
    names, sizes = np.unique(test.traces.category.astype(str), return_counts=True)
    kept = sorted(zip(-sizes, names, strict=True))
    return [
        _slice(name, test.traces.category == name, to_pro, test, seed)
        for size, name in kept
        if -size >= FEWEST_TO_SLICE
    ]


def _slice(name: str, rows: NDArray[np.bool_], to_pro: NDArray[np.bool_], test: Evidence, seed: int) -> Slice:
    outcomes, share = test.traces.outcomes[rows], to_pro[rows]
    flash, pro = outcomes.T
    routed = np.where(share, pro, flash)
    gained, lost = 100 * (routed - flash), 100 * (pro - routed)

    def points(weight: Reals) -> dict[str, float]:
        return {"gain": float(weight @ gained / weight.sum()), "loss": float(weight @ lost / weight.sum())}

    measured = estimates(points, pd.factorize(test.groups[rows])[0], seed)
    return Slice(
        name or "(none)", int(rows.sum()), flash.mean(), pro.mean(), routed.mean(), share.mean(),
        measured["gain"], measured["loss"],
    )  # fmt: skip


def splits(traces: Traces, smoothing: Smoothing, seed: int) -> list[Splits]:
    """APGR in cross-validation with random folds and with whole categories held out, for what can be compared.

    A request is ranked among those of its own fold, which one router scored: two routers' scores do not compare, and
    pooled as they are they would put even a constant below chance, since a fold rich in gain leaves the others poor
    in it. Intervals resample groups, and where categories are held out whole categories: those are the draws there.
    On at most `CROSS_VALIDATION_ROWS` rows whose outcomes are both known.
    """
    known = np.random.default_rng(seed).permutation(np.flatnonzero(traces.both_observed))
    sample = traces.take(np.sort(known[:CROSS_VALIDATION_ROWS]))
    ways = {"random": folds(sample.group, router.labels(sample.outcomes), CROSS_VALIDATION_FOLDS, seed)}
    if len(set(sample.category)) > 1:
        ways["category"] = category_folds(sample.category, CROSS_VALIDATION_FOLDS, seed)
    clusters = {"random": pd.factorize(sample.group)[0], "category": pd.factorize(sample.category)[0]}
    apgr = {
        way: [
            estimates(ranking_metrics(column, sample.outcomes), clusters[way], seed)["apgr"]
            for column in _cross_validated(sample, fold, smoothing)
        ]
        for way, fold in ways.items()
    }
    labels = (ROUTER_LABEL, "prompt length alone")
    return [
        Splits(label, apgr["random"][at], apgr["category"][at] if "category" in apgr else None)
        for at, label in enumerate(labels)
    ]


def _cross_validated(sample: Traces, fold: Ints, smoothing: Smoothing) -> Reals:
    """Out-of-fold ranks, in (0, 1], of the router's scores and of prompt length alone, float64[2, N]."""

    def held_out(held: int) -> tuple[Ints, Reals]:
        inside, outside = np.flatnonzero(fold != held), np.flatnonzero(fold == held)
        fitted, features = router.fit(sample.take(inside), smoothing)
        held_features, _ = fitted.measure(sample.take(outside))
        weights = router.category_weights(sample.category[inside])
        length = heads.fit(features[:, :1], sample.outcomes[inside], smoothing.regularisation, weights)
        both = fitted.heads.probabilities(held_features), length.probabilities(held_features[:, :1])
        return outside, np.stack([rankdata(np.diff(each)[:, 0]) / len(outside) for each in both])

    scores = np.empty((2, len(sample)))
    for rows, held_scores in Parallel(n_jobs=THREADS, backend="threading")(
        delayed(held_out)(k) for k in np.unique(fold)
    ):
        scores[:, rows] = held_scores
    return scores


def learning_curve(fit: Traces, test: Evidence, smoothing: Smoothing, whole: Policy, seed: int) -> list[LearningPoint]:
    """APGR on the test part after fitting on fewer labels; the last point is the router itself.

    Args:
        fit: the fit part.
        test: the test part.
        smoothing: of the router.
        whole: the router's policy, for the last point and its interval over test rows.
        seed: of the draws.
    """
    sizes = [size for size in LEARNING_SIZES if size < len(fit)]
    random = np.random.default_rng(seed)
    draws = [np.sort(random.permutation(len(fit))[:size]) for size in sizes for _ in range(LEARNING_SEEDS)]

    def apgr(rows: Ints) -> float:
        fitted, _ = router.fit(fit.take(rows), smoothing)
        return Ranking.by(fitted.gain(test.traces).astype(float), test.traces.outcomes).curve().apgr()

    values = np.reshape(
        Parallel(n_jobs=THREADS, backend="threading")(delayed(apgr)(rows) for rows in draws), (-1, LEARNING_SEEDS)
    )
    points = [LearningPoint(size, _mean(row), LEARNING_SEEDS) for size, row in zip(sizes, values, strict=True)]
    return [*points, LearningPoint(len(fit), whole.metrics["apgr"], 1)]


def _mean(values: Reals) -> Estimate:
    half = STUDENT_95_OF_FIVE * values.std(ddof=1) / np.sqrt(len(values))
    return Estimate(float(values.mean()), float(values.mean() - half), float(values.mean() + half))
