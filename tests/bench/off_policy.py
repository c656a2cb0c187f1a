"""Off-policy estimates where the truth is known: whether they are right on average, and how often intervals hold it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed
from scipy.stats import norm
from threadpoolctl import threadpool_limits

from features.errors import LearningError
from pipeline.metrics import Reals
from pipeline.nuisance import Asked, Nuisances, nuisances
from pipeline.off_policy import (
    Inferred,
    ToPro,
    compare,
    doubly_robust,
    ips,
    naive,
    overlap,
    pooled,
    pseudo,
    self_normalised,
)
from tests.bench import goals
from tests.bench.data import Data
from tests.bench.logged import Requests, requests
from tests.bench.table import Line

LOGS = 1000
ROWS, AUDITED = 5000, 250
EXPLORED = (0.02, 0.05)
TRUTH_DRAWS, TRUTH_ROWS = 40, 100_000
WORKERS, PIECES = 2, 20
NORMAL = float(norm.ppf(0.975))
WAYS = ("doubly robust", "IPS", "SNIPS", "naive")
# A call of pro costs more the larger the request is; USD per 1,000 requests.
BASE, PER_SIZE = np.array([1.0, 8.0]), np.array([0.3, 3.0])
COMPARED = ("always pro", "lower threshold")

# value, low, high, and whether the interval would hold with normal quantiles: of each estimate, by its name.
Found = dict[str, tuple[float, float, float, float]]


@dataclass(frozen=True)
class Simulated:
    """Estimates of one quantity on many logs, each beside the truth."""

    truth: float
    found: Reals

    @property
    def coverage(self) -> float:
        """Share of the intervals that hold the truth."""
        return float(((self.found[:, 1] <= self.truth) & (self.truth <= self.found[:, 2])).mean())

    @property
    def normal_coverage(self) -> float:
        """The same with normal quantiles."""
        return float((np.abs(self.found[:, 0] - self.truth) <= NORMAL * self.found[:, 3]).mean())

    @property
    def told(self) -> str:
        """Bias with its error, and mean width."""
        values = self.found[:, 0]
        error = values.std(ddof=1) / np.sqrt(len(values))
        width = (self.found[:, 2] - self.found[:, 1]).mean()
        return f"bias {values.mean() - self.truth:+.4f} ± {error:.4f}, width {width:.3f}"


def run(data: Data) -> list[Line]:
    """All lines of this part."""
    data.say(f"off_policy: the truth, on {TRUTH_DRAWS * TRUTH_ROWS:,} requests")
    truth = _truth()
    lines: list[Line] = []
    for explore in EXPLORED:
        data.say(f"off_policy: {LOGS:,} logs, {explore:.0%} explored")
        lines += _lines(explore, truth, simulate(explore, range(LOGS)))
    return lines


def simulate(explore: float, seeds: range) -> dict[str, Reals]:
    """Estimates on simulated logs, one log per seed: float64[logs, 4] by name, see `Found`."""
    pieces = Parallel(n_jobs=WORKERS)(delayed(_piece)(explore, seeds[at::PIECES]) for at in range(PIECES))
    found = [each for piece in pieces for each in piece]
    return {name: np.array([each[name] for each in found]) for name in found[0]}


def _piece(explore: float, seeds: range) -> list[Found]:
    with threadpool_limits(1):
        return [estimated(explore, seed) for seed in seeds]


def estimated(explore: float, seed: int) -> Found:
    """All estimates on one log."""
    random = np.random.default_rng(seed)
    drawn = requests(ROWS, random)
    asked = drawn.log(drawn.outcomes(random), explore, random)
    known = nuisances(asked, seed)
    outcomes = pseudo(asked, known)
    found = {}
    for name, to_pro in drawn.policies.items():
        for way, estimate in zip(WAYS, _ways(asked, known, outcomes, to_pro), strict=True):
            found[f"{name}: {way}"] = estimate
    found["cost, always pro: doubly robust"] = _cost(drawn, asked, seed)
    one, other = (drawn.policies[name] for name in COMPARED)
    logged = compare(outcomes, one, other, drawn.groups)
    found["difference, logs"] = logged
    found["difference, logs and audit"] = pooled([logged, _audited(random, seed)])
    return {name: (each.value, each.low, each.high, each.standard_error) for name, each in found.items()}


def _ways(asked: Asked, known: Nuisances, outcomes: Reals, to_pro: ToPro) -> tuple[Inferred, ...]:
    return (
        doubly_robust(outcomes, to_pro, asked.groups),
        ips(asked, known, to_pro),
        self_normalised(asked, known, to_pro),
        naive(asked, to_pro),
    )


def _cost(drawn: Requests, asked: Asked, seed: int) -> Inferred:
    """Of costs whose expectation is fitted, with no tariff at hand."""
    noise = np.random.default_rng(seed).lognormal(0, 0.5, asked.outcomes.shape)
    spent = np.where(asked.seen, _expected_cost(drawn) * noise * np.exp(-0.125), np.nan)
    priced = Asked(spent, asked.asked, asked.chances, asked.groups, asked.design)
    return doubly_robust(pseudo(priced, nuisances(priced, seed)), drawn.policies["always pro"], asked.groups)


def _expected_cost(drawn: Requests) -> Reals:
    return np.asarray(BASE + PER_SIZE * np.exp(0.5 * drawn.design[:, [4]]))


def _audited(random: np.random.Generator, seed: int) -> Inferred:
    """The difference on a small audit of its own."""
    drawn = requests(AUDITED, random)
    asked = drawn.audit(drawn.outcomes(random), random)
    one, other = (drawn.policies[name] for name in COMPARED)
    return compare(pseudo(asked, nuisances(asked, seed)), one, other, drawn.groups)


def _truth() -> dict[str, float]:
    """Means over millions of requests, by the names of the policies; costs as "cost, ..."."""
    means = []
    for seed in range(TRUTH_DRAWS):
        drawn = requests(TRUTH_ROWS, np.random.default_rng(LOGS + seed))
        costs = {f"cost, {name}": value for name, value in drawn.truth(_expected_cost(drawn)).items()}
        means.append(drawn.truth() | costs)
    found = {name: float(np.mean([each[name] for each in means])) for name in means[0]}
    return found | {"difference": found[COMPARED[0]] - found[COMPARED[1]]}


def _lines(explore: float, truth: dict[str, float], simulated: dict[str, Reals]) -> Iterator[Line]:
    held = {name: Simulated(truth[_quantity(name)], found) for name, found in simulated.items()}
    robust = {name: each.coverage for name, each in held.items() if name.endswith(WAYS[0])}
    name = max(robust, key=lambda each: abs(robust[each] - 0.95))
    setting = f"{explore:.0%} explored"
    yield Line(
        f"95 % intervals, {setting}: furthest of the doubly robust coverages from 0.95",
        abs(robust[name] - 0.95),
        f"({name}: {robust[name]:.3f}; sampling error {np.sqrt(0.95 * 0.05 / LOGS):.3f}, {LOGS:,} logs of "
        f"{ROWS:,} rows)",
        goals.COVERAGE_OFF,
    )
    for name, each in held.items():
        told = f"({each.told}; with normal quantiles {each.normal_coverage:.3f})"
        yield Line(f"coverage, {setting}, {name}", each.coverage, told)
    yield _refused(explore)


def _quantity(name: str) -> str:
    return "difference" if name.startswith("difference") else name.partition(":")[0]


def _refused(explore: float) -> Line:
    """How many rows a log needs until always-pro is no longer refused."""
    for rows in range(500, 20_000, 500):
        random = np.random.default_rng(rows)
        drawn = requests(rows, random)
        asked = drawn.log(drawn.outcomes(random), explore, random)
        try:
            overlap(asked, drawn.policies["always pro"]).check()
        except LearningError:
            continue
        break
    return Line(f"rows of a log that tells of always-pro, {explore:.0%} explored", rows, "(one log per 500)", form=",d")
