"""The router beside its baselines on the untouched test part, all for the same quality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray

from features.bags import Ints
from features.errors import TargetError
from pipeline import baselines, tune
from pipeline.baselines import Baseline
from pipeline.findings import Policy
from pipeline.heads import Features
from pipeline.metrics import (
    FLASH,
    PRO,
    Estimate,
    Ranking,
    Reals,
    decision_metrics,
    estimates,
    needs_pro,
    probability_metrics,
    ranking_metrics,
)
from pipeline.router import THREADS, Router
from pipeline.traces import Traces
from pipeline.tune import OperatingPoint

DIVIDED_BY_GAP = ("apgr", "cpt50", "cpt80", "pgr")
ROUTER_LABEL = "ten features (this router)"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a comparison of policies is on.

    Attributes:
        costs: of a request at flash and at pro.
        quality: share of always-pro's accuracy that each policy's threshold is to keep.
        seed: of the resampling.
    """

    costs: tuple[float, float]
    quality: float
    seed: int


@dataclass(frozen=True, slots=True)
class Observed:
    """A part with both outcomes observed, and what the router makes of it; `groups` are codes, int64[N]."""

    traces: Traces
    features: Features
    evidence: NDArray[np.float32]
    probabilities: Reals
    gain: NDArray[np.float32]
    groups: Ints

    @classmethod
    def of(cls, traces: Traces, features: Features, evidence: NDArray[np.float32], probabilities: Reals) -> Observed:
        """With the gain as the file computes it."""
        flash, pro = probabilities.astype(np.float32).T
        return cls(traces, features, evidence, probabilities, pro - flash, pd.factorize(traces.group)[0])


def observe(fitted: Router, traces: Traces) -> Observed:
    """What the router makes of the traces whose outcomes are both known."""
    both = traces.both_observed
    known = traces if both.all() else traces.take(np.flatnonzero(both))
    features, evidence = fitted.measure(known)
    return Observed.of(known, features, evidence, fitted.heads.probabilities(features))


def policies(
    fit: Traces, fit_features: Features, tuned: Observed, test: Observed, point: OperatingPoint,
    terms: Terms,
) -> list[Policy]:  # fmt: skip
    """Every policy of the table on the test part, each learned one at its own threshold for the same quality.

    Args:
        fit, fit_features: rows that the baselines are fitted on, and their ten features.
        tuned: the tune part, on which each policy's threshold is chosen.
        test: the test part.
        point: the router's operating point.
        terms: of the comparison.
    """
    known = np.flatnonzero(fit.both_observed)
    rivals = baselines.fit_all(fit.take(known), fit_features[known], terms.seed)
    measured = Parallel(n_jobs=THREADS, backend="threading")(
        [delayed(_rival)(rival, tuned, test, terms) for rival in rivals] + [delayed(router_policy)(test, point, terms)]
    )
    rate = tune.random_rate(tuned.traces.outcomes, terms.quality)
    chance = _constant("random", "random", rate, test, terms, "its APGR and CPT are their expected values")
    expected = {"apgr": 0.5, "cpt50": 0.5, "cpt80": 0.8}
    drawn = {name: Estimate(value, value, value) for name, value in expected.items()}
    return [
        *constants(test, terms),
        replace(chance, metrics=where_defined({**chance.metrics, **drawn})),
        *measured,
        oracle(test, terms),
    ]


def served_policies(test: Observed, point: OperatingPoint, terms: Terms) -> list[Policy]:
    """What a version does on some traces, between the constants and the oracle."""
    return [*constants(test, terms), router_policy(test, point, terms), oracle(test, terms)]


def constants(test: Observed, terms: Terms) -> list[Policy]:
    """Always flash and always pro."""
    return [
        _constant("always_flash", "always flash", 0.0, test, terms),
        _constant("always_pro", "always pro", 1.0, test, terms),
    ]


def _constant(name: str, label: str, rate: float, test: Observed, terms: Terms, note: str = "") -> Policy:
    outcomes = test.traces.outcomes
    measure = decision_metrics(np.full(len(outcomes), rate), outcomes, terms.costs)
    return Policy(name, label, where_defined(estimates(measure, test.groups, terms.seed)), note=note)


def _rival(rival: Baseline, tuned: Observed, test: Observed, terms: Terms) -> Policy:
    threshold, scores = rival.threshold, rival.score(test.traces, test.features)
    if threshold is None:
        tuning = rival.score(tuned.traces, tuned.features)
        try:
            threshold = tune.for_quality(tuning, tuned.traces.outcomes, 0.0, terms.quality).threshold
        except TargetError:
            unreachable = replace(rival, threshold=-np.inf, note="cannot reach the quality asked for, so always pro")
            return _rival(unreachable, tuned, test, terms)
    return _scored(rival.name, rival.label, scores, scores >= threshold, test, terms, rival.note)


def router_policy(test: Observed, point: OperatingPoint, terms: Terms) -> Policy:
    """The router itself, with the calibration of its heads."""
    scores = tune.scores(test.gain, test.evidence, point.evidence_floor)
    policy = _scored("router", ROUTER_LABEL, scores, tune.sends_to_pro(scores, point.threshold), test, terms)
    calibration = estimates(probability_metrics(test.probabilities, test.traces.outcomes), test.groups, terms.seed)
    return Policy(policy.name, policy.label, {**policy.metrics, **calibration}, policy.curve)


def oracle(test: Observed, terms: Terms) -> Policy:
    """Pro exactly where it is right and flash is wrong: what no router can beat."""
    outcomes = test.traces.outcomes
    needed = outcomes[:, PRO] - outcomes[:, FLASH]
    note = "knows the outcomes; no router can do better"
    return _scored("oracle", "oracle", needed, needs_pro(outcomes), test, terms, note)


def _scored(
    name: str, label: str, scores: Reals, to_pro: NDArray[np.bool_], test: Observed, terms: Terms,
    note: str = "",
) -> Policy:  # fmt: skip
    outcomes = test.traces.outcomes
    ranked, decided = ranking_metrics(scores, outcomes), decision_metrics(to_pro.astype(float), outcomes, terms.costs)
    measured = estimates(lambda weight: ranked(weight) | decided(weight), test.groups, terms.seed)
    return Policy(name, label, where_defined(measured), Ranking.by(scores, outcomes).curve(), note)


def where_defined(measured: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Metrics without those that a gap between the tiers divides, unless pro is better beyond doubt."""
    if measured["gap"].low > 0:
        return dict(measured)
    undefined = Estimate(np.nan, np.nan, np.nan)
    return {name: undefined if name in DIVIDED_BY_GAP else value for name, value in measured.items()}
