"""The operating point: the decision rule that serves an objective best, and what is certified of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.certificate import Certificate, certificate, tested
from pipeline.config import Aim
from pipeline.frontier import ALWAYS_FLASH, ALWAYS_PRO, Frontier, Gains, Rules
from pipeline.metrics import Reals
from pipeline.objective import Objective
from pipeline.observed import Observed
from pipeline.sample import Sample

FORCED = 3.0


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold and what it does on the rows it was chosen on.

    Attributes:
        threshold: send to pro when gain >= threshold.
        evidence_floor: send to pro when evidence < evidence_floor; 0 sends nothing.
        policy: "router", "always flash" or "always pro".
        pro_rate: share of requests sent to pro.
        accuracy: share of requests answered correctly.
        quality: accuracy divided by that of always-pro; None where that is 0.
        cost: mean cost of the models' calls, in the unit of the costs.
        delivery: mean total delivery cost, in the same unit.
    """

    threshold: float
    evidence_floor: float
    policy: str
    pro_rate: float
    accuracy: float
    quality: float | None
    cost: float
    delivery: float


@dataclass(frozen=True, slots=True)
class Tuned:
    """A choice, and what is guaranteed of it."""

    point: OperatingPoint
    certificate: Certificate


def tune(sample: Sample, rules: Rules, aim: Aim) -> Tuned:
    """Choose among decision rules.

    Args:
        sample: the tune part; not fitted on, and not seen when the rules were declared.
        rules: to choose among.
        aim: what the choice is to achieve, and what is to be certified of it.

    Raises:
        TargetError: no rule that may be chosen reaches the objective.
        InputError: the objective is about money, and no prices are known.
    """
    frontier, found = over(sample, rules), tested(aim.claim, sample.rows, rules)
    certified = np.arange(len(rules)) <= found[0]
    wished = _at(aim.objective, frontier, None)
    served = _at(aim.objective, frontier, certified) if aim.certify else wished
    held = certificate(aim.claim, sample.rows, rules, frontier, served, wished, found)
    return Tuned(point(rules, frontier, served), held)


def _at(objective: Objective, frontier: Frontier, allowed: NDArray[np.bool_] | None) -> int:
    """The rule to serve; one that sends all these rows to pro is as good as always-pro, and safer."""
    at = objective.choose(frontier, allowed)
    return 0 if frontier.pro_rate[at] == 1 else at


def operate(sample: Sample, rules: Rules, objective: Objective) -> OperatingPoint:
    """The operating point of an objective alone; see `tune`."""
    frontier = over(sample, rules)
    return point(rules, frontier, objective.choose(frontier))


def over(sample: Sample, rules: Rules) -> Frontier:
    """What every rule does on the rows."""
    rows = sample.rows
    return Frontier.over(rules.places(rows.gain, rows.evidence), len(rules), rows.outcomes, sample.costs)


def point(rules: Rules, frontier: Frontier, at: int) -> OperatingPoint:
    """A rule as an operating point."""
    threshold, floor, policy = float(rules.thresholds[at]), rules.evidence_floor, "router"
    if at == len(rules) - 1:
        threshold, floor, policy = ALWAYS_FLASH, 0.0, "always flash"
    elif frontier.pro_rate[at] == 1:
        threshold, policy = ALWAYS_PRO, "always pro"
    accuracy, pro = float(frontier.accuracy[at]), float(frontier.accuracy[0])
    return OperatingPoint(
        threshold, floor, policy, float(frontier.pro_rate[at]), accuracy, accuracy / pro if pro else None,
        float(frontier.cost[at]), float(frontier.delivery[at]),
    )  # fmt: skip


def scores(gain: Gains, evidence: NDArray[np.float32], floor: float) -> Reals:
    """What ranks requests by the full rule: the gain, and above all gains where there is too little evidence."""
    return np.where(evidence < np.float32(floor), FORCED, gain.astype(float))


def to_pro(rows: Observed, point: OperatingPoint) -> NDArray[np.bool_]:
    """What an operating point decides on rows, by the full rule, bool[N]."""
    return sends_to_pro(scores(rows.gain, rows.evidence, point.evidence_floor), point.threshold)


def sends_to_pro(score: Reals, threshold: float) -> NDArray[np.bool_]:
    """The decisions, bool[N]."""
    return score >= threshold
