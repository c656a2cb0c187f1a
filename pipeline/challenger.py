"""A challenger: what the newest evidence says should serve.

A new router is learned from all that is known, logs weighed (`pipeline.weights`); where too little is held out to test
one, the champion's coefficients stay. Its threshold is the one that serves the objective best on the newest requests
if its own probabilities are right. Nothing else is asked of the newest logs here: their outcomes are the gate's, and a
threshold chosen by them moves with each handful of explored requests (regret in the replayed year: 1.1 in place of
0.9). Whether the probabilities are right shows at the gate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from features.errors import LearningError
from pipeline import router
from pipeline.costs import Tariff
from pipeline.evidence import Evidence, evidence
from pipeline.frontier import Frontier, Rules, declare
from pipeline.heads import Features
from pipeline.metrics import Reals
from pipeline.objective import Objective
from pipeline.observed import observed
from pipeline.parts import drawn
from pipeline.router import LeftOut, Router, Smoothing
from pipeline.schema import TIERS
from pipeline.traces import Traces
from pipeline.tune import OperatingPoint, point
from pipeline.weights import Weights, weigh

HALF_LIFE_DAYS = 90.0
MOST_TO_CHOOSE_ON = 50_000
FEWEST_OUTCOMES = 50


class Sees(Protocol):
    """Whatever gives requests their features and probabilities: a fitted router, or a version's files."""

    def see(self, traces: Traces) -> tuple[Features, NDArray[np.float32], Reals]:
        """Features float32[N, 10], evidence float32[N], probabilities float64[N, 2]."""
        ...


Last = Callable[[Sees, Rules], int]


@dataclass(frozen=True, slots=True)
class Contender:
    """A router with the rules to choose among, and the one it serves.

    Attributes:
        seer: gives requests their probabilities.
        rules: declared without the rows that thresholds are chosen on.
        point: that is served.
        smoothing: it was fitted with.
    """

    seer: Sees
    rules: Rules
    point: OperatingPoint
    smoothing: Smoothing


@dataclass(frozen=True, slots=True)
class Fitted:
    """A router made of weighted outcomes.

    Attributes:
        router: that was fitted.
        left_out: its features on the rows it was fitted on.
        half_life_days: of the weights; None: nothing was forgotten.
        weights: of the outcomes.
    """

    router: Router
    left_out: LeftOut
    half_life_days: float | None
    weights: Weights


@dataclass(frozen=True, slots=True)
class Proposal:
    """What should serve.

    Attributes:
        contender: with its operating point.
        at: number of the rule that it serves.
        fitted: its new router; None where the champion's coefficients stay.
    """

    contender: Contender
    at: int
    fitted: Fitted | None


def propose(
    fit: Traces, asked: Traces, champion: Contender, tariff: Tariff, objective: Objective, seed: int, *,
    half_life_days: float | None = HALF_LIFE_DAYS, refit: bool = True, last: Last = lambda _seer, rules: len(rules) - 1,
) -> Proposal:  # fmt: skip
    """Find what should serve.

    Args:
        fit: to learn from: labelled traces, audited tasks and logged decisions.
        asked: newest logged decisions, to choose a threshold on; their outcomes are not read.
        champion: that serves now.
        tariff: whose prices apply.
        objective: of the threshold.
        seed: of samples.
        half_life_days: of logged decisions; None: nothing is forgotten.
        refit: whether a new router is learned; otherwise the champion's coefficients stay.
        last: the furthest rule towards always-flash that may be served; any where not given.

    Raises:
        LearningError: too little to learn from or to choose on.
        TargetError: no threshold reaches the objective.
    """
    made = learn(fit, champion.smoothing, half_life_days) if refit else None
    seer: Sees = made.router if made else champion.seer
    rules = declare(made.router.gain_of(made.left_out.features), made.left_out.evidence) if made else champion.rules
    frontier = believed(seer, rules, asked, tariff, seed)
    at = objective.choose(frontier, np.arange(len(rules)) <= last(seer, rules))
    return Proposal(Contender(seer, rules, point(rules, frontier, at), champion.smoothing), at, made)


def learn(fit: Traces, smoothing: Smoothing, half_life_days: float | None = HALF_LIFE_DAYS) -> Fitted:
    """A router from weighted outcomes; see `pipeline.weights`.

    Categories are not balanced: that is for kinds of task that nobody has asked yet, and logs are what is asked (in the
    replayed year regret was 0.07 ± 0.04 less so).

    Raises:
        LearningError: fewer than `FEWEST_OUTCOMES` of a tier.
    """
    weights = weigh(fit, half_life_days)
    if (few := min(weights.seen)) < FEWEST_OUTCOMES:
        raise LearningError(
            f"{fit.source}: only {few} outcomes of {TIERS[weights.seen.index(few)]} can be learned from, at least "
            f"{FEWEST_OUTCOMES} are needed: wait for more, explore more, or ask both tiers a sample"
        )
    taken = fit.take(weights.rows).with_outcomes(weights.outcomes)
    made, left_out = router.fit(taken, smoothing, weights.values, balanced=False)
    return Fitted(made, left_out, half_life_days, weights)


def believed(seer: Sees, rules: Rules, asked: Traces, tariff: Tariff, seed: int) -> Frontier:
    """What every rule does on requests, if the router's own probabilities are right.

    Raises:
        LearningError: there is no request.
    """
    if not len(asked):
        raise LearningError("no request is as new as 'newest_days' asks, so no threshold can be chosen: is logging on?")
    sample = asked.take(drawn(len(asked), seed, MOST_TO_CHOOSE_ON))
    features, known, probabilities = seer.see(sample)
    rows = observed(sample, features, known, probabilities, seed)
    costs = tariff.costs(replace(rows, outcomes=probabilities))
    return Frontier.over(rules.places(rows.gain, rows.evidence), len(rules), probabilities, costs)


def seen(seer: Sees, traces: Traces, seed: int) -> Evidence:
    """Traces as evidence, as a router sees them."""
    return evidence(traces, *seer.see(traces), seed)
