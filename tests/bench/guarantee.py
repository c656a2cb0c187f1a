"""The guarantee of the chosen threshold: how often it is broken where the truth is known, and what it costs in calls.

Data sets are drawn, whole groups with replacement, from populations whose risk is known at every step. Beside the bets
stand the choice that a sample suggests (the cheapest step that keeps the claim on it) and the test that is usual
for bounded losses, Hoeffding-Bentkus (arXiv 2110.01052, section 3.2), of the claim that it can express.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed
from scipy.stats import binom

from features.bags import Ints
from pipeline import router
from pipeline.guarantee import Claim, last_certified, p_values
from pipeline.metrics import FLASH, PRO, Reals, needs_pro
from pipeline.router import Smoothing
from tests.bench import goals
from tests.bench.crossing import crossed, stratified
from tests.bench.data import Data
from tests.bench.table import Line

POPULATION = "routellm_mmlu"
DATA_SETS = 2000
STEPS = 100
POINTS, RATIO = Claim("points", 0.016), Claim("ratio", 0.98)
SMALL = Claim("points", 0.03)
POWER_STEPS = 200
POWER_SETS = {1000: 400, 5000: 400, 20_000: 200}
HELD_TO = 5000
WORKERS = 2


@dataclass(frozen=True)
class Rows:
    """Rows to test on, or a population of them; the arrays are those of `guarantee.p_values`, [N]."""

    outcomes: Reals
    groups: Ints
    place: Ints
    steps: int

    @property
    def counted(self) -> Reals:
        """As how many groups each row counts, [N]: the rows of a group share."""
        return 1.0 / np.bincount(self.groups)[self.groups]

    def kept(self, claim: Claim) -> np.ndarray:
        """Whether the claim is true of these rows at each step, bool[K]."""
        lost = self._by_step(self.counted * (self.outcomes[:, PRO] - self.outcomes[:, FLASH]))
        return lost <= claim.allowance * self._size(claim) + 1e-9

    def pro_rate(self) -> Reals:
        """Share of these rows that goes to pro at each step, [K]."""
        return 1 - self._by_step(np.ones(len(self.place))) / len(self.place)

    def draw(self, groups: int, seed: int) -> Rows:
        """Groups drawn with replacement; each draw is a group of its own."""
        order = np.argsort(self.groups, kind="stable")
        _, first, rows = np.unique(self.groups[order], return_index=True, return_counts=True)
        drawn = np.random.default_rng(seed).integers(0, len(rows), groups)
        sizes = rows[drawn]
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        at = order[np.repeat(first[drawn], sizes) + within]
        return Rows(self.outcomes[at], np.repeat(np.arange(groups), sizes), self.place[at], self.steps)

    def hoeffding_bentkus(self, claim: Claim) -> Reals:
        """P-values by Hoeffding-Bentkus, [K].

        It needs a loss in [0, 1], so what flash gets right and pro does not is worth nothing to it: it tests a claim
        that implies ours. Squeezing our own loss, in [-1, 1], into [0, 1] instead certifies nothing of 5,000 rows.
        A group counts by the mean of its rows.
        """
        count = len(np.unique(self.groups))
        missing = count - self._size(claim)
        risk = (self._by_step(self.counted * needs_pro(self.outcomes)) + claim.allowance * missing) / count
        binary = claim.form == "points" and count == len(self.groups)
        found = _hoeffding_bentkus(risk, count, claim.allowance, binary)
        found[0] = 0.0
        return found

    def _by_step(self, amount: np.ndarray) -> Reals:
        return np.cumsum(np.bincount(self.place, weights=amount, minlength=self.steps)[: self.steps])

    def _size(self, claim: Claim) -> float:
        return float((self.counted * (self.outcomes[:, PRO] if claim.form == "ratio" else 1)).sum())


@dataclass(frozen=True)
class Setting:
    """A population, what is claimed of it, and how many groups of it are seen."""

    what: str
    claim: Claim
    groups: int
    population: Rows


def _hoeffding_bentkus(risk: Reals, count: int, bound: float, binary: bool) -> Reals:
    low = np.minimum(risk, bound)
    with np.errstate(divide="ignore", invalid="ignore"):
        divergence = np.where(low > 0, low * np.log(low / bound), 0) + (1 - low) * np.log((1 - low) / (1 - bound))
    # Rounded first: 3.0000000000000004 losses are three.
    losses = np.ceil(np.round(count * risk, 6))
    bentkus = (1 if binary else np.e) * binom.cdf(losses, count, bound)
    return np.minimum(np.exp(-count * divergence), bentkus)


def bets(rows: Rows, claim: Claim) -> int:
    """The step that the product would certify."""
    return last_certified(p_values(claim, rows.outcomes, rows.groups, rows.place, rows.steps), claim)


def naive(rows: Rows, claim: Claim) -> int:
    """The cheapest step that keeps the claim on the rows themselves."""
    return int(np.flatnonzero(rows.kept(claim)).max())


def bounded(rows: Rows, claim: Claim) -> int:
    """The step that Hoeffding-Bentkus certifies."""
    return last_certified(rows.hoeffding_bentkus(claim), claim)


WAYS: dict[str, Callable[[Rows, Claim], int]] = {"betting": bets, "naive": naive, "Hoeffding-Bentkus": bounded}


def chosen(setting: Setting, seeds: range) -> dict[str, Ints]:
    """The steps chosen on data sets, one per seed, by way."""
    samples = (setting.population.draw(setting.groups, seed) for seed in seeds)
    steps = np.array([[way(rows, setting.claim) for way in WAYS.values()] for rows in samples])
    return dict(zip(WAYS, steps.T, strict=True))


def run(data: Data) -> list[Line]:
    """All lines of this part."""
    population = mmlu_like(data)
    lines = []
    for setting in settings(*population):
        data.say(f"guarantee: {setting.what}")
        lines.append(_broken(setting))
    data.say("guarantee: what it costs")
    rows = by_quantiles(*population, POWER_STEPS)
    return [*lines, *(line for groups in POWER_SETS for line in _cost(Setting("", POINTS, groups, rows)))]


def mmlu_like(data: Data) -> tuple[Reals, Reals]:
    """Out-of-fold gains and outcomes, float64[N] and [N, 2]."""
    traces = data.one_per_group(POPULATION)
    scores = crossed(
        traces,
        stratified(traces, 0),
        lambda inside, held, _: {"gain": router.fit(inside, Smoothing())[0].gain(held).astype(float)},
        0,
    )
    return scores["gain"], traces.outcomes


def by_quantiles(score: Reals, outcomes: Reals, steps: int) -> Rows:
    """Each step sends an equal share more to flash, lowest scores first; every row is a group."""
    rank = np.argsort(np.argsort(score, kind="stable"), kind="stable")
    return Rows(outcomes, np.arange(len(score)), 1 + rank * steps // len(score), steps + 1)


def settings(gain: Reals, outcomes: Reals) -> Iterator[Setting]:
    """The populations, easy ones first."""
    luck = np.random.default_rng(0).random(len(gain))
    tied = np.argsort(np.argsort(gain, kind="stable"), kind="stable") * 5 // len(gain)
    ties = Rows(outcomes, np.arange(len(gain)), 1 + tied * (STEPS // 5), STEPS + 1)
    yield Setting("MMLU-like scores", POINTS, 1000, by_quantiles(gain, outcomes, STEPS))
    yield Setting("five distinct scores", RATIO, 1000, ties)
    yield Setting("few rows", SMALL, 250, by_quantiles(gain, outcomes, STEPS))
    yield Setting("scores unrelated to the truth", POINTS, 1000, by_quantiles(luck, outcomes, STEPS))
    yield Setting("scores against the truth", POINTS, 1000, by_quantiles(-gain, outcomes, STEPS))
    yield Setting("groups of near-duplicates", RATIO, 500, near_duplicates(gain, outcomes))
    yield Setting("risk just above the claim at every step", POINTS, 1000, at_the_boundary(POINTS, 1))
    yield Setting("the same, groups of four copies", POINTS, 500, at_the_boundary(POINTS, 4))


def near_duplicates(gain: Reals, outcomes: Reals) -> Rows:
    """Groups of one to six rows at the same score, nine in ten with the outcomes of the first."""
    random = np.random.default_rng(0)
    base = by_quantiles(gain, outcomes, STEPS)
    groups = np.repeat(np.arange(len(gain)), np.resize([1, 1, 2, 3, 6], len(gain)))
    source = np.where(random.random(len(groups)) < 0.9, groups, random.integers(0, len(gain), len(groups)))
    return Rows(outcomes[source], groups, base.place[groups], base.steps)


def at_the_boundary(claim: Claim, copies: int) -> Rows:
    """A population, for a claim in points, that breaks it by a hundredth of a point at every step but the first.

    Step 1 loses that much; each later one wins and loses as much as the one before, so a luckier sample tempts
    whoever chooses among the steps. Each row stands `copies` times in its group.
    """
    size, steps = 10_000, 20
    lost, won = round(size * (claim.allowance + 0.0001)) + 300, 300
    first = [(0, 1)] * lost + [(1, 0)] * won
    later = [(0, 1)] * 50 + [(1, 0)] * 50
    same = size - len(first) - (steps - 1) * len(later)
    outcomes = np.array(first + later * (steps - 1) + [(1, 1)] * same, float)
    place = np.repeat(np.arange(1, steps + 1), [len(first)] + [len(later)] * (steps - 1))
    place = np.append(place, np.full(same, steps))
    every = np.repeat(np.arange(size), copies)
    return Rows(outcomes[every], every, place[every], steps + 1)


def _simulated(setting: Setting, count: int) -> dict[str, Ints]:
    pieces = Parallel(n_jobs=WORKERS)(delayed(chosen)(setting, range(at, count, WORKERS)) for at in range(WORKERS))
    return {way: np.concatenate([piece[way] for piece in pieces]) for way in WAYS}


def _broken(setting: Setting) -> Line:
    kept = setting.population.kept(setting.claim)
    broken = {way: float((~kept[steps]).mean()) for way, steps in _simulated(setting, DATA_SETS).items()}
    level = setting.claim.confidence_level
    error = np.sqrt(level * (1 - level) / DATA_SETS)
    behind = (
        f"(sampling error {error:.4f}, {DATA_SETS:,} data sets of {setting.groups:,} groups; "
        f"naive {broken['naive']:.3f}, Hoeffding-Bentkus {broken['Hoeffding-Bentkus']:.3f})"
    )
    return Line(
        f"guarantees broken at level {level:g}, {setting.what}", broken["betting"], behind, goals.GUARANTEES_BROKEN
    )


def _cost(setting: Setting) -> Iterator[Line]:
    rate, kept = setting.population.pro_rate(), setting.population.kept(setting.claim)
    best = rate[naive(setting.population, setting.claim)]
    count = POWER_SETS[setting.groups]
    for way, steps in _simulated(setting, count).items():
        above = 100 * (rate[steps] - best)
        error = above.std(ddof=1) / np.sqrt(count)
        what = f"calls to pro above those with endless data, points, {setting.groups:,} rows: {way}"
        behind = f"± {error:.2f} ({count} data sets; claim broken in {(~kept[steps]).mean():.3f}; endless {best:.3f})"
        goal = goals.GUARANTEED_CALLS if way == "betting" and setting.groups == HELD_TO else None
        yield Line(what, float(above.mean()), behind, goal, ".1f")
