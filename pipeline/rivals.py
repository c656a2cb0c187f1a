"""The router beside its baselines on the untouched test part, all for the same objective."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from joblib import Parallel, delayed

from features.errors import TargetError
from pipeline import baselines, frontier
from pipeline.baselines import Baseline
from pipeline.findings import Policy
from pipeline.frontier import Frontier
from pipeline.heads import Features
from pipeline.metrics import Estimate
from pipeline.objective import Objective
from pipeline.observed import Part
from pipeline.policies import constant, constants, oracle, router_policy, scored, where_defined
from pipeline.router import THREADS
from pipeline.sample import Sample
from pipeline.traces import Traces
from pipeline.tune import OperatingPoint


def policies(
    fit: Traces, fit_features: Features, parts: tuple[Part, Part], tuned: Sample, test: Sample,
    point: OperatingPoint, objective: Objective,
) -> list[Policy]:  # fmt: skip
    """Every policy of the table on the test part, each learned one at its own threshold for the same objective.

    Args:
        fit, fit_features: rows that the baselines are fitted on, and their ten features.
        parts: the tune and the test part, for the baselines to score.
        tuned: the tune part, on which each policy's threshold is chosen.
        test: the test part.
        point: the router's operating point.
        objective: of all.
    """
    known = np.flatnonzero(fit.both_observed)
    rivals = baselines.fit_all(fit.take(known), fit_features[known], test.seed)
    measured = Parallel(n_jobs=THREADS, backend="threading")(
        [delayed(_rival)(rival, parts, tuned, test, objective) for rival in rivals]
        + [delayed(router_policy)(test, point)]
    )
    return [*constants(test), _random(tuned, test, objective), *measured, oracle(test)]


def _random(tuned: Sample, test: Sample, objective: Objective) -> Policy:
    """A coin, of the bias that serves the objective best on average."""
    mixed = Frontier.at_random(tuned.rows.outcomes, tuned.costs)
    note = "its APGR and CPT are their expected values"
    try:
        rate = float(mixed.pro_rate[objective.choose(mixed)])
    except TargetError:
        rate, note = 1.0, f"cannot reach the objective, so always pro; {note}"
    chance = constant("random", "random", rate, test, note)
    expected = {"apgr": 0.5, "cpt50": 0.5, "cpt80": 0.8}
    drawn = {name: Estimate(value, value, value) for name, value in expected.items()}
    return replace(chance, metrics=where_defined({**chance.metrics, **drawn}))


def _rival(rival: Baseline, parts: tuple[Part, Part], tuned: Sample, test: Sample, objective: Objective) -> Policy:
    tuning, scores = (rival.score(part.traces, part.observed.features) for part in parts)
    threshold, note = rival.threshold, rival.note
    if threshold is None:
        path = frontier.steps(tuning, -np.inf, np.inf)
        place = frontier.places(path, tuning)
        try:
            at = objective.choose(Frontier.over(place, len(path), tuned.rows.outcomes, tuned.costs))
            threshold = float(path[at])
        except TargetError:
            threshold, note = -np.inf, "cannot reach the objective, so always pro"
    return scored(rival.name, rival.label, scores, scores >= threshold, test, note)
