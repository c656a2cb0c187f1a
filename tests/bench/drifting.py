"""Drift: how often a month of the same traffic raises the alarm, and how often real changes do.

The router is fitted on some groups of the bundle; all months are made of the others, which stand for the world. Months
without drift split them at random, so nothing but chance tells the halves apart. Months with drift are drawn from them
with replacement, whole groups, so that a month can be large. What a month is compared with are labelled rows, or logged
decisions such as a retuned version keeps: by the threshold that serves now, by another one, or by another router.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from joblib import Parallel, delayed

from pipeline import parts, router
from pipeline.diagnosis import wilson
from pipeline.drift.facts import Deployed
from pipeline.drift.measure import LEVEL, measure
from pipeline.evidence import Evidence
from pipeline.metrics import FLASH
from pipeline.observed import Observed, observe
from pipeline.router import Smoothing
from pipeline.schema import TIERS
from tests.bench import goals
from tests.bench.data import BUNDLE_NAME, Data
from tests.bench.table import Line

QUIET_MONTHS, MOVED_MONTHS = 500, 100
SIZES = (5_000, 20_000)
REFERENCE_ROWS = 5_000
LOGGED_REFERENCES = (500, 1_600, 5_000)
EXPLORED, MISSING = 0.02, 0.3
TO_PRO = 0.3  # share of the world that the logging router sends
TO_PRO_BEFORE = 0.6
WORKERS = 2
SAME = {tier: (Deployed(), Deployed()) for tier in TIERS}
UNPRICED = {"tiers": {tier: {"price": None} for tier in TIERS}}

Rows = np.ndarray


@dataclass(frozen=True)
class World:
    """Requests that the router was not fitted on, and their gains by one that was fitted on less of the same."""

    rows: Observed
    other_gain: Rows

    def draw(self, size: int, random: np.random.Generator, weight: Rows | None = None) -> Observed:
        """About so many rows, whole groups with replacement, each draw a group of its own; groups may weigh more."""
        order = np.argsort(self.rows.groups, kind="stable")
        _, first, count = np.unique(self.rows.groups[order], return_index=True, return_counts=True)
        chance = None if weight is None else weight[order][first] / weight[order][first].sum()
        drawn = random.choice(len(count), round(size / count.mean()), p=chance)
        sizes = count[drawn]
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        rows = self.rows.take(order[np.repeat(first[drawn], sizes) + within])
        return replace(rows, groups=np.repeat(np.arange(len(drawn)), sizes))

    def logged(
        self, rows: Observed, random: np.random.Generator, explored: float = EXPLORED, wanted: Rows | None = None
    ) -> Evidence:
        """The rows as a service that explores logs them; some outcomes never arrive, more of long prompts.

        The router sends to pro what is wanted there, bool[N], or the share `TO_PRO`.
        """
        size = len(rows)
        wanted = rows.gain >= np.quantile(self.rows.gain, 1 - TO_PRO) if wanted is None else wanted
        of_pro = np.where(wanted, 1 - explored / 2, explored / 2)
        to_pro = random.random(size) < of_pro
        asked, chances = np.stack([~to_pro, to_pro], 1), np.stack([1 - of_pro, of_pro], 1)
        lost = random.random(size) < MISSING * (0.5 + (rows.words > np.median(rows.words)))
        outcomes = np.where(asked & ~lost[:, None], rows.outcomes, np.nan)
        blank = np.full(size, "", object)
        return Evidence(replace(rows, outcomes=outcomes), asked, chances, blank, blank)


def run(data: Data) -> list[Line]:
    """All lines of this part."""
    data.say("drift: fitting")
    world = made(data)
    data.say(f"drift: {QUIET_MONTHS} months without any")
    lines = [_quiet(world, EXPLORED), _quiet(world, 0.0)]
    lines += [
        _quiet_logged(world, "by the same router", world.rows.gain, TO_PRO),
        _quiet_logged(world, "by another threshold", world.rows.gain, TO_PRO_BEFORE),
        _quiet_logged(world, "by another router", world.other_gain, TO_PRO),
    ]
    for what, change in CHANGES.items():
        data.say(f"drift: {what}")
        lines += [_moved(world, what, change, size) for size in SIZES]
        lines += [_moved(world, what, change, size, logged) for size in SIZES for logged in LOGGED_REFERENCES]
    return lines


def made(data: Data) -> World:
    """The world: two fifths of the bundle's groups are fitted on, the others make the months."""
    traces = data.load(BUNDLE_NAME)
    divided = parts.split(traces, parts.by_group(0))
    fit = traces.take(divided.fit[: len(divided.fit) * 2 // 3])
    kept = ~np.isin(traces.group, np.unique(fit.group))
    fitted, _ = router.fit(fit, Smoothing())
    others = traces.take(np.flatnonzero(kept))
    worse, _ = router.fit(fit.take(np.arange(len(fit) // 10)), Smoothing())
    return World(observe(fitted, others, 0).observed, observe(worse, others, 0).observed.gain)


def unlike(world: World, now: Observed, random: np.random.Generator) -> Rows:
    """Whether each row is of a third of the categories, drawn at random: bool[N]."""
    names = np.unique(world.rows.category.astype(str))
    return np.isin(now.category.astype(str), random.permutation(names)[: max(1, len(names) // 3)])


def mixed(world: World, size: int, random: np.random.Generator) -> Observed:
    """A third of the categories three times as often."""
    return world.draw(size, random, np.where(unlike(world, world.rows, random), 3.0, 1.0))


def worse(points: float) -> Callable[[World, int, np.random.Generator], Observed]:
    """Flash loses so many points in a third of the categories."""

    def change(world: World, size: int, random: np.random.Generator) -> Observed:
        now = world.draw(size, random)
        hit = unlike(world, now, random)
        share = points / 100 / now.outcomes[hit, FLASH].mean()
        outcomes = now.outcomes.copy()
        outcomes[hit & (random.random(len(now)) < share), FLASH] = 0
        return replace(now, outcomes=outcomes)

    return change


def everywhere(points: float) -> Callable[[World, int, np.random.Generator], Observed]:
    """Flash loses so many points in all of them."""

    def change(world: World, size: int, random: np.random.Generator) -> Observed:
        now = world.draw(size, random)
        outcomes = now.outcomes.copy()
        outcomes[random.random(len(now)) < points / 100 / now.outcomes[:, FLASH].mean(), FLASH] = 0
        return replace(now, outcomes=outcomes)

    return change


CHANGES: dict[str, Callable[[World, int, np.random.Generator], Observed]] = {
    "nothing": lambda world, size, random: world.draw(size, random),
    "a third of the categories three times as frequent": mixed,
    "flash 5 points worse in a third of the categories": worse(5),
    "flash 10 points worse in a third of the categories": worse(10),
    "flash 5 points worse everywhere": everywhere(5),
}


def _quiet(world: World, explored: float) -> Line:
    def month(seed: int) -> tuple[str, ...]:
        random = np.random.default_rng(seed)
        half = _half(world, random)
        before, now = (world.rows.take(np.flatnonzero(side)) for side in (half, ~half))
        return alarms(Evidence.labelled(before), world.logged(now, random, explored), seed)

    what = f"months of the same distribution that raise the alarm, {explored:.0%} explored"
    return _line(what, [*_all(month, QUIET_MONTHS)], len(world.rows) // 2, goals.FALSE_ALARMS)


def _quiet_logged(world: World, how: str, gain: Rows, to_pro: float) -> Line:
    """What the month is compared with was logged too, by gains of which the highest went to pro."""
    wanted = gain >= np.quantile(gain, 1 - to_pro)

    def month(seed: int) -> tuple[str, ...]:
        random = np.random.default_rng(seed)
        half = _half(world, random)
        before, now = (world.rows.take(np.flatnonzero(side)) for side in (half, ~half))
        return alarms(world.logged(before, random, wanted=wanted[half]), world.logged(now, random), seed)

    what = f"months of the same distribution that raise the alarm beside decisions that were logged {how}"
    return _line(what, [*_all(month, QUIET_MONTHS)], len(world.rows) // 2, goals.FALSE_ALARMS)


def _half(world: World, random: np.random.Generator) -> Rows:
    """Half of the groups, bool[N]."""
    return np.asarray(random.random(world.rows.groups.max() + 1)[world.rows.groups] < 0.5)


def _moved(world: World, what: str, change: Callable[..., Observed], size: int, logged: int = 0) -> Line:
    """Beside labelled rows, or beside so many logged ones."""

    def month(seed: int) -> tuple[str, ...]:
        random = np.random.default_rng([seed, size])
        rows = world.draw(logged or REFERENCE_ROWS, random)
        before = world.logged(rows, random) if logged else Evidence.labelled(rows)
        return alarms(before, world.logged(change(world, size, random), random), seed)

    beside = f" beside {logged:,} logged decisions" if logged else ""
    return _line(f"months that raise the alarm{beside}, changed: {what}", [*_all(month, MOVED_MONTHS)], size)


def alarms(before: Evidence, now: Evidence, seed: int) -> tuple[str, ...]:
    """The names of what raises the alarm."""
    return tuple(one.name for one in measure(before, now, SAME, (UNPRICED, UNPRICED), seed, LEVEL).alarms)


def _all(month: Callable[[int], tuple[str, ...]], count: int) -> list[tuple[str, ...]]:
    return list(Parallel(n_jobs=WORKERS)(delayed(month)(seed) for seed in range(count)))


def _line(what: str, found: list[tuple[str, ...]], size: int, goal: goals.Goal | None = None) -> Line:
    share = np.array(float(np.mean([bool(names) for names in found])))
    low, high = wilson(share, np.array(float(len(found))))
    named = Counter(name for names in found for name in names).most_common(3)
    told = "; ".join(f"{name} {count}" for name, count in named) or "none"
    behind = f"[{max(float(low), 0.0):.3f}, {high:.3f}] ({len(found)} months of {size:,} rows; {told})"
    return Line(what, float(share), behind, goal)
