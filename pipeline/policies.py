"""Ways to choose a tier, measured: the constants, the router, the oracle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline import tune
from pipeline.findings import Policy
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
from pipeline.sample import Sample
from pipeline.tune import OperatingPoint

DIVIDED_BY_GAP = ("apgr", "cpt50", "cpt80", "pgr")
ROUTER_LABEL = "ten features (this router)"


def served_policies(test: Sample, point: OperatingPoint) -> list[Policy]:
    """What a version does on some traces, between the constants and the oracle."""
    return [*constants(test), router_policy(test, point), oracle(test)]


def constants(test: Sample) -> list[Policy]:
    """Always flash and always pro."""
    return [constant("always_flash", "always flash", 0.0, test), constant("always_pro", "always pro", 1.0, test)]


def constant(name: str, label: str, rate: float, test: Sample, note: str = "") -> Policy:
    """Pro for a share of the requests, whatever they are."""
    measure = decision_metrics(np.full(len(test.rows), rate), test.rows.outcomes, test.amounts)
    return Policy(name, label, where_defined(estimates(measure, test.rows.groups, test.seed)), note=note)


def router_policy(test: Sample, point: OperatingPoint) -> Policy:
    """The router itself, with the calibration of its heads."""
    rows = test.rows
    scores = tune.scores(rows.gain, rows.evidence, point.evidence_floor)
    policy = scored("router", ROUTER_LABEL, scores, tune.to_pro(rows, point), test)
    calibration = estimates(probability_metrics(rows.probabilities, rows.outcomes), rows.groups, test.seed)
    return replace(policy, metrics={**policy.metrics, **calibration})


def oracle(test: Sample) -> Policy:
    """Pro exactly where it is right and flash is wrong: what no router can beat."""
    outcomes = test.rows.outcomes
    needed = outcomes[:, PRO] - outcomes[:, FLASH]
    return scored("oracle", "oracle", needed, needs_pro(outcomes), test, "knows the outcomes; no router can do better")


def decided(to_pro: NDArray[np.bool_], test: Sample) -> dict[str, Estimate]:
    """Metrics of decisions, without those of a ranking."""
    measure = decision_metrics(to_pro.astype(float), test.rows.outcomes, test.amounts)
    return where_defined(estimates(measure, test.rows.groups, test.seed))


def scored(
    name: str, label: str, scores: Reals, to_pro: NDArray[np.bool_], test: Sample, note: str = ""
) -> Policy:  # fmt: skip
    """A score with decisions on it, and the curve of its other thresholds."""
    outcomes = test.rows.outcomes
    ranked = estimates(ranking_metrics(scores, outcomes), test.rows.groups, test.seed)
    chosen = estimates(decision_metrics(to_pro.astype(float), outcomes, test.amounts), test.rows.groups, test.seed)
    return Policy(
        name, label, where_defined(ranked | chosen), Ranking.by(scores, outcomes).costed(test.costs.api), note
    )


def where_defined(measured: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Metrics without those that a gap between the tiers divides, unless pro is better beyond doubt."""
    if measured["gap"].low > 0:
        return dict(measured)
    undefined = Estimate(np.nan, np.nan, np.nan)
    return {name: undefined if name in DIVIDED_BY_GAP else value for name, value in measured.items()}
