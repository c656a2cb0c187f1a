"""The gate where the truth is known: how often it promotes what is worse, and refuses what is better.

Requests, their outcomes and their arrival are those of `tests.bench.logged`. The champion is the router that logs. The
challenger adds noise to its score, and as much of the truth as makes it better or worse by a given amount: that, and
its threshold, are found on a large population.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from joblib import Parallel, delayed
from scipy.special import expit
from scipy.stats import binomtest
from threadpoolctl import threadpool_limits

from pipeline.costs import Tariff
from pipeline.evidence import Evidence, Mask
from pipeline.exploring import chances, scale_of
from pipeline.gate import MARGIN, Verdict, judge
from pipeline.inferred import Amounts, infer
from pipeline.metrics import FLASH, PRO, Reals
from pipeline.observed import Observed
from pipeline.off_policy import naive
from tests import made_up
from tests.bench import goals
from tests.bench.data import Data
from tests.bench.logged import SERVED, SLOPES, Requests, requests
from tests.bench.table import Line

GATES = 500
ROWS, AUDITED = 5000, 500
EXPLORED = 0.05
POPULATION, POPULATION_SEED = 1_000_000, 2026
STEPS, FURTHEST = 24, 20.0
WORKERS, PIECES = 2, 20
NOISE, OWN_NOISE = 0.3, 0.3
CATEGORIES = np.array(["chat", "code", "facts", "forms", "sums"], dtype=object)
TOKENS = {"input_tokens": (400.0, 400.0), "output_tokens": (300.0, 360.0), "cached_tokens": (0.0, 0.0)}
UNEVEN = 0.5
AT = datetime(2026, 6, 1, tzinfo=UTC)
# Challenger minus champion: accuracy, and cost in shares of what always-pro costs.
CASES: Mapping[str, tuple[float, float]] = {
    "accuracy 1.5 points worse": (-0.015, 0.0),
    "cost 1.5 points higher": (0.0, 0.015),
    "as good, at the same cost": (0.0, 0.0),
    "accuracy 2 points better": (0.02, 0.0),
    "cost 2 points lower": (0.0, -0.02),
    "accuracy 2 points better, cost 2 points lower": (0.02, -0.02),
}
WORSE, BETTER = tuple(CASES)[:2], tuple(CASES)[3:]
# Share of the outcomes that never arrive, and whether requests come in groups.
SETTINGS: Mapping[str, tuple[float, bool]] = {
    "all outcomes": (0.0, False),
    "30 % missing": (0.3, False),
    "30 % missing, groups of 1 to 8": (0.3, True),
}


@dataclass(frozen=True)
class World:
    """N requests with all that is true of them, and the scores that routers could give them.

    Attributes:
        drawn: requests, outcomes and arrival.
        rows: with what both tiers would take; outcomes are chances.
        score, noise, truth: float64[N], of the champion; what the challenger adds to it.
    """

    drawn: Requests
    rows: Observed
    score: Reals
    noise: Reals
    truth: Reals

    @property
    def champion(self) -> Mask:
        """Whether it sends each request to pro, bool[N]."""
        return np.asarray(self.score >= SERVED)

    def challenger(self, made: Challenger) -> Mask:
        """The same of a challenger."""
        return np.asarray(self.mixed(made.share) >= made.threshold)

    def mixed(self, share: float) -> Reals:
        """The score of a challenger that knows so much more than the champion."""
        return self.score + NOISE * self.noise + share * self.truth


@dataclass(frozen=True)
class Challenger:
    """What makes one of the cases: how much truth it adds, its threshold, the share it sends to the other tier."""

    share: float
    threshold: float
    differing: float


def run(data: Data) -> list[Line]:
    """All lines of this part."""
    tariff = _tariff()
    data.say(f"gating: challengers, on {POPULATION:,} requests")
    made = calibrated(world(POPULATION, np.random.default_rng(POPULATION_SEED), 0.0, grouped=False), tariff)
    lines: list[Line] = []
    for name, (missing, grouped) in SETTINGS.items():
        data.say(f"gating: {name}: {GATES:,} gates of each challenger")
        lines += _lines(name, made, simulate(made, tariff, missing, grouped, range(GATES)))
    return lines


def world(count: int, random: np.random.Generator, missing: float, grouped: bool) -> World:
    """Draw so many requests."""
    drawn = requests(count, random, missing, grouped)
    ease = drawn.design @ SLOPES
    score = -0.7 * ease + 0.4 * drawn.design[:, 5] + OWN_NOISE * random.normal(size=count)
    size = np.exp(UNEVEN * random.normal(size=(count, 1)) - UNEVEN**2 / 2)
    rows = made_up.rows(
        drawn.right, groups=drawn.groups, **{name: size * np.array(pair) for name, pair in TOKENS.items()}
    )
    rows = replace(
        rows,
        features=drawn.design.astype(np.float32),
        probabilities=expit(np.stack([0.7 + ease, 1.7 + 0.6 * ease], 1)),
        category=CATEGORIES[random.integers(0, len(CATEGORIES), count)],
        words=np.maximum(1, np.rint(300 * size[:, 0])).astype(np.int64),
    )
    truth = drawn.right[:, PRO] - drawn.right[:, FLASH]
    return World(drawn, rows, score, random.normal(size=count), truth)


def calibrated(whole: World, tariff: Tariff) -> dict[str, Challenger]:
    """The challenger of each case, by its name."""
    cost = tariff.costs(whole.rows).delivery
    return {name: _challenger(whole, cost, *wanted) for name, wanted in CASES.items()}


def _challenger(whole: World, cost: Reals, better: float, dearer: float) -> Challenger:
    """By bisection over what it knows; the threshold follows from the cost."""
    more = cost[:, PRO] - cost[:, FLASH]
    budget = more[whole.champion].sum() + dearer * cost[:, PRO].sum()
    wanted = whole.truth[whole.champion].mean() * whole.champion.mean() + better
    low, high = -FURTHEST, FURTHEST
    for _ in range(STEPS):
        share = (low + high) / 2
        score = whole.mixed(share)
        order = np.argsort(-score)
        last = int(np.searchsorted(np.cumsum(more[order]), budget))
        if whole.truth[order[:last]].sum() / len(score) < wanted:
            low = share
        else:
            high = share
    threshold = float(score[order[last]])
    return Challenger(share, threshold, float(((score >= threshold) != whole.champion).mean()))


def simulate(
    made: Mapping[str, Challenger], tariff: Tariff, missing: float, grouped: bool, seeds: range
) -> dict[str, Counter[str]]:
    """How gates end, by the name of the case: verdicts, and "naive" for promotions by the naive gate."""
    pieces = Parallel(n_jobs=WORKERS)(
        delayed(_piece)(made, tariff, missing, grouped, seeds[at::PIECES]) for at in range(PIECES)
    )
    return {name: sum((piece[name] for piece in pieces), Counter()) for name in made}


def _piece(
    made: Mapping[str, Challenger], tariff: Tariff, missing: float, grouped: bool, seeds: range
) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {name: Counter() for name in made}
    with threadpool_limits(1):
        for seed in seeds:
            random = np.random.default_rng(seed)
            seen = world(ROWS + AUDITED, random, missing, grouped)
            amounts = infer(logged(seen, random), tariff, seed)
            for name, each in made.items():
                challenger = seen.challenger(each)
                judged = judge(amounts, seen.champion, challenger)
                found[name][judged.verdict.value] += 1
                found[name][judged.why.split(":")[0]] += 1
                found[name]["naive"] += _naively(amounts, seen.champion, challenger)
    return found


def logged(seen: World, random: np.random.Generator) -> Evidence:
    """What a log of the champion shows of these requests; the last `AUDITED` are asked of both tiers."""
    drawn = replace(seen.drawn, policies={"logger": seen.champion})
    outcomes = drawn.outcomes(random)
    log, audit = drawn.log(outcomes, explored(seen.score), random), drawn.audit(outcomes, random)
    both = np.arange(len(outcomes)) >= ROWS
    shown, asked, chances = (
        np.where(both[:, None], getattr(audit, name), getattr(log, name)) for name in ("outcomes", "asked", "chances")
    )
    usage = seen.rows.usage
    known = {name: np.where(asked, getattr(usage, name), np.nan).astype(np.float32) for name in TOKENS}
    rows = replace(seen.rows, outcomes=shown, usage=replace(usage, **known))
    script = np.full(len(outcomes), "latin", dtype=object)
    return Evidence(rows, asked, chances, script, np.where(both, "", "v1").astype(object))


def explored(score: Reals) -> Reals:
    """The chance of each request to be explored, float64[N], as `Decider` has it."""
    return chances(EXPLORED, np.abs(score - SERVED), scale_of(score, SERVED))


def _naively(amounts: Amounts, champion: Mask, challenger: Mask) -> bool:
    """Whether plain means of what was logged, where it agrees with either, are within the margins."""
    at = np.flatnonzero(~amounts.evidence.audited)
    asked = amounts.take(at).asked
    spent = np.where(asked.seen, amounts.expected_costs.delivery[at], np.nan)
    unit = amounts.expected_costs.delivery[:, PRO].mean()
    cost = replace(asked, outcomes=spent)
    worse = naive(asked, challenger[at]).value < naive(asked, champion[at]).value - MARGIN
    dearer = naive(cost, challenger[at]).value > naive(cost, champion[at]).value + MARGIN * unit
    return not worse and not dearer


def _tariff() -> Tariff:
    """Learned from other requests."""
    seen = world(20_000, np.random.default_rng(POPULATION_SEED + 1), 0.0, grouped=False)
    return made_up.tariff(made_up.price_file(made_up.FLASH_PRICE, made_up.PRO_PRICE), seen.rows, AT)


def _lines(setting: str, made: Mapping[str, Challenger], found: Mapping[str, Counter[str]]) -> Iterator[Line]:
    for name, ended in found.items():
        promoted = ended[Verdict.PROMOTE.value]
        told = f"{_share(promoted)}, {made[name].differing:.1%} sent to another tier; " + _told(ended)
        if name in BETTER:
            goal = goals.BETTER_REFUSED
            yield Line(f"refused, {setting}, {name}", 1 - promoted / GATES, f"({told})", goal)
        else:
            goal = goals.WORSE_PROMOTED if name in WORSE else None
            yield Line(f"promoted, {setting}, {name}", promoted / GATES, f"({told})", goal)


def _told(ended: Counter[str]) -> str:
    counts = {each.value: ended[each.value] for each in Verdict}
    return ", ".join(f"{name} {count}" for name, count in counts.items()) + f"; naive gate promotes {ended['naive']}"


def _share(promoted: int) -> str:
    low, high = binomtest(promoted, GATES).proportion_ci()
    return f"of {GATES} gates, promotions {low:.3f} to {high:.3f}"
