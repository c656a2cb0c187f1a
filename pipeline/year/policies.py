"""Two ways to run a router for a year that do without the retune: as it was, and retrained on its own logs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np

from pipeline import parts, router, tune
from pipeline.challenger import Contender, believed
from pipeline.costs import Tariff
from pipeline.exploring import chances, scale_of
from pipeline.frontier import declare
from pipeline.metrics import FLASH, PRO, Reals
from pipeline.objective import Objective
from pipeline.observed import observe
from pipeline.router import LeftOut, Router, Smoothing
from pipeline.sample import Sample
from pipeline.traces import Traces
from pipeline.year import distinct
from pipeline.year.past import Past
from pipeline.year.world import Mask

OBJECTIVE = Objective("total_cost", None)
RULE = parts.by_group(0)


class Exploring(Enum):
    """How requests are explored."""

    NOT = "not"
    EVENLY = "each with the same chance"
    NEAR = "most of them near the threshold, as `Decider` does"


class Policy(Protocol):
    """What serves requests for a year, and may change between two months.

    Attributes:
        serving: router and threshold of the month.
        explores: how it sends some requests to the tier that it would not choose, to learn.
        audits: how many tasks it asks both tiers in a quarter, to learn.
    """

    serving: Contender
    explores: Exploring
    audits: int

    def retune(self, past: Past, tariff: Tariff) -> str:
        """Change, or not, for the prices of the month that comes; returns what was done."""
        ...


def first(labelled: Traces, tariff: Tariff, smoothing: Smoothing, seed: int) -> Contender:
    """What `tier-router train --total-cost` makes of labelled traces: fitted on three fifths, tuned on one."""
    divided = parts.split(labelled, RULE)
    made, left_out = router.fit(labelled.take(divided.fit), smoothing)
    rules = declare(made.gain_of(left_out.features), left_out.evidence)
    rows = observe(made, labelled.take(divided.tune), seed).observed
    return Contender(made, rules, tune.operate(Sample(rows, tariff.costs(rows), seed), rules, OBJECTIVE), smoothing)


def decided(contender: Contender, traces: Traces) -> Mask:
    """What its operating point decides, bool[N]."""
    _, evidence, probabilities = contender.seer.see(traces)
    flash, pro = probabilities.astype(np.float32).T
    scores = tune.scores(pro - flash, evidence, contender.point.evidence_floor)
    return tune.sends_to_pro(scores, contender.point.threshold)


def explored(policy: Policy, rate: float, traces: Traces, labelled: Traces) -> Reals:
    """The chance of each request to go to the other tier, float64[N]; the scale is found on labelled tasks."""
    if policy.explores is not Exploring.NEAR:
        return np.full(len(traces), rate if policy.explores is Exploring.EVENLY else 0.0)
    threshold = policy.serving.point.threshold
    scale = scale_of(_gain(policy.serving, labelled), threshold)
    away = np.abs(_gain(policy.serving, traces) - threshold)
    return chances(rate, away, scale)


def _gain(contender: Contender, traces: Traces) -> Reals:
    """The gain of each request, float64[N]; infinite where too little of it is known for that to decide."""
    _, evidence, probabilities = contender.seer.see(traces)
    unknown = evidence < np.float32(contender.point.evidence_floor)
    return np.where(unknown, np.inf, probabilities[:, PRO] - probabilities[:, FLASH])


def retrained(made: Router, left_out: LeftOut, newest: Traces, tariff: Tariff, smoothing: Smoothing) -> Contender:
    """A router with the threshold of least delivery cost on the newest requests, if its own probabilities are right."""
    rules = declare(made.gain_of(left_out.features), left_out.evidence)
    frontier = believed(made, rules, newest, tariff, 0)
    return Contender(made, rules, tune.point(rules, frontier, OBJECTIVE.choose(frontier)), smoothing)


@dataclass
class Never:
    """The first version, all year; it learns nothing, so it does not explore."""

    serving: Contender
    explores: Exploring = Exploring.NOT
    audits: int = 0

    def retune(self, past: Past, tariff: Tariff) -> str:  # noqa: ARG002  # nothing is learned
        return "nothing"


@dataclass
class Naive:
    """Fitted anew each month on all outcomes of what it chose itself, each counted as often as it was seen.

    Its threshold is the one with the least delivery cost at the prices of the month that comes, on the requests of the
    last one, if its own probabilities are taken at their word. That is not foolish: were they calibrated, it would be
    the best there is.

    Attributes:
        labelled: whether it also learns from the tasks that were labelled before the year.
    """

    serving: Contender
    labelled: bool = False
    explores: Exploring = Exploring.EVENLY
    audits: int = 0

    def retune(self, past: Past, tariff: Tariff) -> str:
        learned = [past.labelled, *past.logs] if self.labelled else past.logs
        rows, smoothing = distinct.repeated(past.tasks, learned, past.day), self.serving.smoothing
        made, left_out = router.fit(rows.traces, smoothing, rows.weights)
        self.serving = retrained(made, left_out, past.traces(past.logs[-1:]), tariff, smoothing)
        return "retrained"
