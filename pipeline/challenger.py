"""A challenger: what the newest evidence says should serve, with the champion's coefficients or with new ones.

How fast the past is forgotten is not set but found: routers are fitted with several half-lives, and the one whose
probabilities explain the newest outcomes best is taken. If the champion's explain them as well, it keeps its
coefficients. The threshold is then chosen on what the newest logs lead to expect of either tier.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from features.errors import LearningError
from pipeline import router
from pipeline.costs import Tariff
from pipeline.evidence import Evidence, evidence
from pipeline.frontier import Frontier, Rules, declare
from pipeline.heads import Features
from pipeline.inferred import Amounts, infer
from pipeline.metrics import Reals
from pipeline.objective import Objective
from pipeline.parts import drawn
from pipeline.router import LeftOut, Router, Smoothing
from pipeline.traces import Traces
from pipeline.tune import OperatingPoint, point
from pipeline.weights import Weights, weigh

HALF_LIVES: tuple[float | None, ...] = (30.0, 90.0, None)
MOST_TO_CHOOSE_ON = 50_000
FEWEST_OUTCOMES = 50
SMALLEST_CHANCE = 1e-6
KEPT = "the champion's coefficients"


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
        losses: mean log loss on the newest outcomes, by what was tried.
        amounts: what the tune rows lead to expect, as the contender sees them.
    """

    contender: Contender
    at: int
    fitted: Fitted | None
    losses: Mapping[str, float]
    amounts: Amounts


def propose(
    fit: Traces, recent: Traces, champion: Contender, tariff: Tariff, objective: Objective, seed: int,
    half_lives: Sequence[float | None] = HALF_LIVES, last: Last = lambda _seer, rules: len(rules) - 1,
) -> Proposal:  # fmt: skip
    """Find what should serve.

    Args:
        fit: to learn from: labelled traces, audited tasks and logged decisions of the fit part.
        recent: newest logged decisions and audited tasks of the tune part, to choose by.
        champion: that serves now.
        tariff: whose prices apply.
        objective: of the threshold.
        seed: of folds and samples.
        half_lives: to try; none: the champion's coefficients stay, and its threshold alone is chosen anew.
        last: the furthest rule towards always-flash that may be served; any where not given.

    Raises:
        LearningError: nothing can be learned or chosen from the traces.
        TargetError: no threshold reaches the objective.
    """
    tried, sample = {_called(each): each for each in half_lives}, _sampled(fit, seed)
    losses = {KEPT: _loss(champion.seer, recent)}
    losses |= {name: _loss(learn(sample, champion.smoothing, each).router, recent) for name, each in tried.items()}
    best, seer, rules, made = min(losses, key=losses.__getitem__), champion.seer, champion.rules, None
    if best != KEPT:
        made = learn(fit, champion.smoothing, tried[best])
        seer, rules = made.router, declare(made.router.gain_of(made.left_out.features), made.left_out.evidence)
    amounts = infer(seen(seer, recent, seed), tariff, seed)
    frontier = expected_frontier(amounts, rules)
    at = objective.choose(frontier, np.arange(len(rules)) <= last(seer, rules))
    contender = Contender(seer, rules, point(rules, frontier, at), champion.smoothing)
    return Proposal(contender, at, made, losses, amounts)


def learn(fit: Traces, smoothing: Smoothing, half_life_days: float | None) -> Fitted:
    """A router from weighted outcomes; see `pipeline.weights`."""
    weights = weigh(fit, half_life_days)
    taken = fit.take(weights.rows).with_outcomes(weights.outcomes)
    made, left_out = router.fit(taken, smoothing, weights.values)
    return Fitted(made, left_out, half_life_days, weights)


def seen(seer: Sees, traces: Traces, seed: int) -> Evidence:
    """Traces as evidence, as a router sees them."""
    return evidence(traces, *seer.see(traces), seed)


def expected_frontier(amounts: Amounts, rules: Rules) -> Frontier:
    """What every rule is expected to do."""
    rows = amounts.evidence.rows
    places = rules.places(rows.gain, rows.evidence)
    return Frontier.over(places, len(rules), amounts.expected, amounts.expected_costs)


def _sampled(fit: Traces, seed: int) -> Traces:
    return fit if len(fit) <= MOST_TO_CHOOSE_ON else fit.take(drawn(len(fit), seed, MOST_TO_CHOOSE_ON))


def _called(half_life: float | None) -> str:
    return "nothing forgotten" if half_life is None else f"half-life of {half_life:g} days"


def _loss(seer: Sees, recent: Traces) -> float:
    """Mean log loss on the newest outcomes, each counted for the inverse of its chance.

    Raises:
        LearningError: too few outcomes.
    """
    weights = weigh(recent)
    if min(weights.seen) < FEWEST_OUTCOMES:
        few = min(weights.seen)
        raise LearningError(
            f"{recent.source}: only {few} of the newest outcomes of the tune part are of the tier asked less often, at "
            f"least {FEWEST_OUTCOMES} are needed: wait for more, explore more, or ask both tiers a sample"
        )
    chance = seer.see(recent.take(weights.rows))[2].clip(SMALLEST_CHANCE, 1 - SMALLEST_CHANCE)
    told = np.where(weights.outcomes == 1, np.log(chance), np.log(1 - chance))
    known = ~np.isnan(weights.outcomes)
    return float(-(weights.values * told)[known].sum() / weights.values[known].sum())
