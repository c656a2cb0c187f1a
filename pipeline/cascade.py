"""A cascade asks flash first, and pro where flash's own confidence is below a bound: against routing, and with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from features.bags import Ints
from features.errors import TargetError
from pipeline.costs import Costs
from pipeline.findings import Contest, Policy
from pipeline.frontier import Frontier, Rules, stacked
from pipeline.metrics import FLASH, PRO, Means, Reals, estimates, quotient
from pipeline.objective import Objective
from pipeline.policies import where_defined
from pipeline.sample import Sample

FEWEST_ROWS = 50
BOUNDS = 50
LABELS = {"routing": "routing", "cascade": "cascade", "both": "routing, then cascade"}


@dataclass(frozen=True, slots=True)
class Amounts:
    """What each of N rows gets and costs in the three ways it can go, float64[4, N] each.

    The rows of an array are: pro asked, answered correctly, cost of the calls, total delivery cost.
    """

    flash: Reals
    pro: Reals
    both: Reals

    @classmethod
    def of(cls, outcomes: Reals, costs: Costs) -> Amounts:
        """A flash answer that is asked again of pro costs its calls and its wait, and nobody sees it."""
        flash, pro = np.moveaxis(stacked(outcomes, costs), 2, 0)
        first = np.zeros_like(flash)
        first[2] = costs.api[:, FLASH]
        first[3] = costs.api[:, FLASH] + costs.waiting[:, FLASH]
        return cls(flash, pro, first + pro)


def contest(tuned: Sample, test: Sample, rules: Rules, objective: Objective) -> Contest | None:
    """The three policies, each tuned for the objective, on the rows where flash states its confidence.

    Returns:
        None where fewer than `FEWEST_ROWS` rows of either part have one, or where a policy cannot reach the objective.
    """
    tuning, testing = (_confident(sample) for sample in (tuned, test))
    if min(len(tuning.rows), len(testing.rows)) < FEWEST_ROWS:
        return None
    bounds = _bounds(tuning)
    frontier = grid(tuning, rules, bounds)
    try:
        chosen = {name: _choose(frontier, name, objective, len(rules), len(bounds)) for name in LABELS}
    except TargetError:
        return None
    value = {name: _served(frontier, at, objective) for name, at in chosen.items()}
    picked = {name: (at // len(bounds), len(bounds) - 1 - at % len(bounds)) for name, at in chosen.items()}
    policies = [_measured(name, picked[name], testing, rules, bounds) for name in LABELS]
    stated = {name: float(bounds[at]) if at else None for name, (_, at) in picked.items()}
    return Contest(policies, stated, max(value, key=lambda name: value[name]), len(testing.rows))


def escalate_below(tuned: Sample, rules: Rules, threshold: float, objective: Objective) -> float | None:
    """The confidence below which to ask pro as well, where the threshold stays the one that is served.

    So the cascade only adds calls to pro to those of the served policy, and loses no answer that pro would have given.

    Args:
        tuned: rows to choose on.
        rules: that the threshold is one of.
        threshold: that is served.
        objective: that the bound serves best.

    Returns:
        More than 0, and above 1 for every answer; None where to ask again serves the objective no better, or too few
        rows hold a confidence to tell.
    """
    tuning = _confident(tuned)
    if len(tuning.rows) < FEWEST_ROWS:
        return None
    bounds = _bounds(tuning)
    served = int(np.searchsorted(rules.thresholds, threshold))
    allowed = np.repeat(np.arange(len(rules)), len(bounds)) == served
    try:
        at = len(bounds) - 1 - objective.choose(grid(tuning, rules, bounds), allowed) % len(bounds)
    except TargetError:
        return None
    return float(bounds[at]) if at else None


def grid(sample: Sample, rules: Rules, bounds: Reals) -> Frontier:
    """Every rule of the path with every bound, flattened, K times B rules: the bound runs faster, and downwards.

    A row goes to pro directly by the path's rule; else flash answers, and pro too where its confidence is below the
    bound.
    """
    place, asked = _places(sample, rules, bounds)
    amounts, shape = Amounts.of(sample.rows.outcomes, sample.costs), (len(rules) + 1, len(bounds) + 1)
    cell = place * shape[1] + asked

    def summed(values: Reals) -> Reals:
        """Sums of the rows with place <= k and asked <= b, [4, K + 1, B + 1]."""
        cells = np.stack([np.bincount(cell, row, shape[0] * shape[1]) for row in values])
        return cells.reshape(-1, *shape).cumsum(1).cumsum(2)

    flash, pro, both = (summed(values) for values in (amounts.flash, amounts.pro, amounts.both))
    direct = pro[:, -1:, -1:] - pro[:, :, -1:]
    total = (direct + both + flash[:, :, -1:] - flash)[:, :-1, -2::-1].reshape(4, -1) / len(place)
    rate, accuracy, cost, delivery = total
    return Frontier(rate, accuracy, cost, delivery, sample.costs.told, sample.costs.in_usd)


def _bounds(sample: Sample) -> Reals:
    """Confidences that may be asked for, ascending: from one that every answer has to one that none has."""
    bounds = np.unique(np.quantile(_confidence(sample), np.linspace(0, 1, BOUNDS), method="inverted_cdf"))
    return np.concatenate([[0.0], bounds[bounds > 0], [np.nextafter(1.0, 2.0)]])


def _confident(sample: Sample) -> Sample:
    rows = np.flatnonzero(np.isfinite(sample.rows.usage.confidence[:, FLASH]))
    return sample.take(rows)


def _confidence(sample: Sample) -> Reals:
    return sample.rows.usage.confidence[:, FLASH].astype(float)


def _places(sample: Sample, rules: Rules, bounds: Reals) -> tuple[Ints, Ints]:
    """From which rule on flash is asked first, and from which bound on pro is asked as well, int64[N] each."""
    place = rules.places(sample.rows.gain, sample.rows.evidence)
    return place, np.searchsorted(bounds, _confidence(sample), side="right")


def _choose(frontier: Frontier, name: str, objective: Objective, steps: int, bounds: int) -> int:
    rule, bound = np.divmod(np.arange(steps * bounds), bounds)
    allowed = {"routing": bound == bounds - 1, "cascade": rule == steps - 1, "both": np.ones(steps * bounds, np.bool_)}
    return objective.choose(frontier, allowed[name])


def _served(frontier: Frontier, at: int, objective: Objective) -> float:
    """How well a rule serves the objective: more is better."""
    if objective.name in ("max_cost", "pro_rate"):
        return float(frontier.accuracy[at])
    spent = frontier.delivery if objective.name == "total_cost" else frontier.cost
    return -float(spent[at])


def _measured(name: str, rule: tuple[int, int], test: Sample, rules: Rules, bounds: Reals) -> Policy:
    place, asked = _places(test, rules, bounds)
    amounts = Amounts.of(test.rows.outcomes, test.costs)
    ways = [place > rule[0], asked <= rule[1]]
    per_row = np.select(ways, [amounts.pro, amounts.both], amounts.flash)
    names = ("pro_rate", "accuracy", "cost", "delivery")
    columns = dict(zip(names, per_row, strict=True)) | {
        "flash": test.rows.outcomes[:, FLASH], "pro": test.rows.outcomes[:, PRO],
    }  # fmt: skip

    def derive(means: Mapping[str, Reals]) -> dict[str, Reals]:
        kept = {name: means[name] for name in names}
        return kept | {"quality": quotient(means["accuracy"], means["pro"]), "gap": means["pro"] - means["flash"]}

    return Policy(name, LABELS[name], where_defined(estimates(Means(columns, derive), test.rows.groups, test.seed)))
