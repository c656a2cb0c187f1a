"""What a threshold is worth: other points that could be chosen, other prices, a month's savings."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from features.errors import TargetError
from pipeline import cascade, tune
from pipeline.config import Aim
from pipeline.costs import REQUESTS, Tariff
from pipeline.findings import Chosen, Money, Scenario, Target
from pipeline.frontier import Frontier, Rules
from pipeline.metrics import PRO, Estimate
from pipeline.objective import Objective
from pipeline.policies import decided
from pipeline.sample import Priced
from pipeline.tune import Tuned

WRONG_IS_FREE = (
    "no wrong answer costs anything, so the cheapest calls win: say under [delivery] of the --config file what one "
    "costs (escalation_rate, wrong_answer_usd)"
)
QUALITIES = (0.9, 0.95, 0.98, 0.99, 1.0)


def money(priced: Priced, tuned: Tuned, aim: Aim) -> Money:
    """Everything about money that the report shows.

    Args:
        priced: the tune and the test part.
        tuned: the choice that was made.
        aim: of the choice.
    """
    objective = aim.objective
    tariff, test, rules = priced.tariff, priced.test, priced.rules
    volume = tariff.delivery.requests_per_month
    served = decided(tune.to_pro(test.rows, tuned.point), test)
    place = rules.places(test.rows.gain, test.rows.evidence)
    return Money(
        in_usd=tariff.in_usd,
        requests_per_month=volume,
        saved=_monthly(served["saved"], volume) if tariff.in_usd else None,
        delivery_saved=_monthly(served["delivery_saved"], volume) if tariff.in_usd else None,
        targets=[_target(each, priced, tuned, objective) for each in _objectives(objective, tariff)],
        scenarios=list(_scenarios(priced, tuned, aim)) if tariff.in_usd else [],
        contest=cascade.contest(priced.tuned, test, rules, objective),
        escalate_below=cascade.escalate_below(priced.tuned, rules, tuned.point.threshold, objective),
        certified_rate=float((place > tuned.certificate.step).mean()),
        wrong_usd=tariff.delivery.wrong_usd,
    )


def remarks(aim: Aim, tariff: Tariff) -> list[str]:
    """A warning where the least total cost was asked for and nothing but calls costs anything."""
    if aim.objective.name != "total_cost" or tariff.delivery.wrong_usd:
        return []
    return [WRONG_IS_FREE]


def _monthly(per_thousand: Estimate, volume: int) -> Estimate:
    value, low, high = (
        number * volume / REQUESTS for number in (per_thousand.value, per_thousand.low, per_thousand.high)
    )
    return Estimate(value, low, high)


def _objectives(objective: Objective, tariff: Tariff) -> list[Objective]:
    others = [Objective("min_quality", quality) for quality in QUALITIES]
    if tariff.in_usd and tariff.delivery.wrong_usd:
        others.append(Objective("total_cost", None))
    return [objective, *(each for each in others if each != objective)]


def _target(wanted: Objective, priced: Priced, tuned: Tuned, objective: Objective) -> Target:
    chosen = wanted == objective
    try:
        point = tuned.point if chosen else tune.operate(priced.tuned, priced.rules, wanted)
    except TargetError:
        return Target(wanted.told, None, "", certified=False, chosen=chosen, metrics={})
    certified = tuned.certificate.covers(point.threshold)
    metrics = decided(tune.to_pro(priced.test.rows, point), priced.test)
    return Target(wanted.told, point.threshold, point.policy, certified, chosen, metrics)


def _scenarios(priced: Priced, tuned: Tuned, aim: Aim) -> Iterator[Scenario]:
    rows, tariff, rules, served = priced.tuned.rows, priced.tariff, priced.rules, tuned.point
    allowed = np.arange(len(rules)) <= tuned.certificate.step if aim.certify else None
    place = rules.places(rows.gain, rows.evidence)
    to_pro = tune.to_pro(rows, served)
    for label, other in _what_ifs(tariff):
        costs = other.costs(rows)
        frontier = Frontier.over(place, len(rules), rows.outcomes, costs)
        now = Chosen(
            served.threshold, served.policy, served.pro_rate,
            *(float(np.where(to_pro, pair[:, PRO], pair[:, 1 - PRO]).mean()) for pair in (costs.api, costs.delivery)),
        )  # fmt: skip
        least = _chosen(rules, frontier, Objective("total_cost", None).choose(frontier, allowed))
        try:
            chosen = _chosen(rules, frontier, aim.objective.choose(frontier, allowed))
        except TargetError:
            chosen = None
        yield Scenario(label, now, chosen, least)


def _what_ifs(tariff: Tariff) -> Iterator[tuple[str, Tariff]]:
    yield "as configured", tariff
    for factor in (0.5, 2.0):
        yield f"pro's prices x{factor:g}", tariff.scaled(PRO, factor)
    for factor in (0.5, 2.0):
        yield f"flash's prices x{factor:g}", tariff.scaled(1 - PRO, factor)
    if tariff.has_peak:
        yield "peak hours all day", tariff.at_peak()
    if tariff.delivery.wrong_usd:
        for factor in (0.5, 2.0):
            yield f"cost of a wrong answer x{factor:g}", tariff.escalating(factor)


def _chosen(rules: Rules, frontier: Frontier, at: int) -> Chosen:
    point = tune.point(rules, frontier, at)
    return Chosen(point.threshold, point.policy, point.pro_rate, point.cost, point.delivery)
