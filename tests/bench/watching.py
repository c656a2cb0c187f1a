"""The watch: how often it alarms at a version that keeps its claim, and how soon at one that does not.

Requests are drawn with logistic chances of both tiers, which the version that serves them knows only about. Flash is
made worse on what goes to it until accuracy is so many points below the claim. Beside the watch stands what is usual: a
one-sided z-test of the same shortfalls at the same level, looked at every day.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from joblib import Parallel, delayed
from scipy.special import expit
from scipy.stats import norm

from pipeline.exploring import chances, scale_of
from pipeline.guarantee import Claim
from pipeline.metrics import FLASH, PRO, Reals
from pipeline.sequential import LEVEL, Bets, shortfalls, span
from pipeline.watching.look import SHARE_OF_AUDITS
from pipeline.watching.rows import among_arrived
from tests.bench import goals
from tests.bench.data import Data
from tests.bench.table import Line

CLAIM, POINTS = Claim("ratio", 0.98), Claim("points", 0.02)
A_DAY, AUDITS_A_DAY = 1000, 20
STREAMS, ALARMED = 500, 200
DAYS, LONGEST = 60, 120
WORKERS = 2
NEVER = 10**9
POPULATION = 200_000
THRESHOLD = 0.07


@dataclass(frozen=True)
class Setting:
    """Traffic of a version.

    Attributes:
        rate: of exploration.
        audits: tasks a day that both tiers are asked.
        below: accuracy below the claim, from the day of the change on.
        before: the same before that day.
        change: day of the change.
        arrival: share of the outcomes of flash and pro that ever arrive.
        evenly: whether all requests are explored alike, and not most of them near the threshold.
    """

    rate: float = 0.02
    claim: Claim = CLAIM
    audits: int = 0
    below: float = 0.0
    before: float = 0.0
    change: int = 0
    arrival: tuple[float, float] = (1.0, 1.0)
    evenly: bool = False


def drawn(random: np.random.Generator, count: int) -> tuple[Reals, Reals, np.ndarray]:
    """Chances of both tiers, what the version takes them for, each float64[N, 2], and whether it chooses pro."""
    hard = random.normal(size=count)
    true = np.column_stack([expit(1.6 - 1.6 * hard), expit(2.2 - 0.7 * hard)])
    believed = np.clip(true + np.array([0.02, 0.03]), 0, 1)
    return true, believed, believed[:, PRO] - believed[:, FLASH] > THRESHOLD


def worse_by(claim: Claim, below: float) -> float:
    """By how much flash has to be worse on what goes to it, for accuracy to be so far below the claim."""
    true, _, to_pro = drawn(np.random.default_rng(0), POPULATION)
    low, high = -1.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        accuracy = np.where(to_pro, true[:, PRO], np.clip(true[:, FLASH] - middle, 0, 1)).mean()
        pro = true[:, PRO].mean()
        promised = claim.bound * pro if claim.form == "ratio" else pro - claim.bound
        low, high = (middle, high) if promised - accuracy < below else (low, middle)
    return low


def shortfalls_of(
    setting: Setting, random: np.random.Generator, worse: Reals, rate: float, arrival: tuple[float, float]
) -> tuple[Reals, Reals, np.ndarray]:
    """Of requests whose outcomes have arrived: shortfalls, their scales, places. A rate of 1 is an audit."""
    true, believed, to_pro = drawn(random, len(worse))
    true = np.column_stack([np.clip(true[:, FLASH] - worse, 0, 1), true[:, PRO]])
    explored = rates(setting, rate, believed)
    of_pro = np.where(to_pro, 1 - explored, explored)
    chances, asked = np.ones_like(true), np.ones(true.shape, np.bool_)
    if rate < 1:
        chances = np.column_stack([1 - of_pro, of_pro])
        asked[:, PRO] = random.random(len(true)) < of_pro
        asked[:, FLASH] = ~asked[:, PRO]
    outcomes = np.where(asked, random.random(true.shape) < true, np.nan)
    waiting = ((random.random(len(true))[:, None] >= arrival) & asked).any(1)
    weight = np.ones(len(true))
    if rate < 1:
        chances, weight = among_arrived(chances, asked, waiting)
    found = shortfalls(setting.claim, outcomes, chances, believed, to_pro)
    scale = weight / span(setting.claim, chances.min(initial=1.0))
    return found[~waiting], scale[~waiting], np.flatnonzero(~waiting)


def rates(setting: Setting, rate: float, believed: Reals) -> Reals:
    """The chance of each request to be explored, float64[N], as `Decider` has it or even."""
    away = np.abs(believed[:, PRO] - believed[:, FLASH] - THRESHOLD)
    return chances(rate, away, None if setting.evenly else scale())


@cache
def scale() -> float | None:
    """How far from the threshold requests are explored as often as the mean."""
    _, believed, _ = drawn(np.random.default_rng(0), POPULATION)
    return scale_of(believed[:, PRO] - believed[:, FLASH], THRESHOLD)


def stream(setting: Setting, worse: tuple[float, float], days: int, seed: int) -> Iterator[tuple[Reals, Reals, int]]:
    """What arrives day by day, audits first: shortfalls, their scales, how many are of audits."""
    random = np.random.default_rng(seed)
    split = []
    for a_day, rate, arrival in (
        (setting.audits, 1.0, (1.0, 1.0)),
        (round(A_DAY / setting.arrival[FLASH]), setting.rate, setting.arrival),
    ):
        day = np.repeat(np.arange(days), a_day)
        now = np.take(worse, day >= setting.change)
        found, scale, places = shortfalls_of(setting, random, now, rate, arrival)
        cuts = np.searchsorted(day[places], np.arange(1, days))
        split.append(zip(np.split(found, cuts), np.split(scale, cuts), strict=True))
    for (audited, of_audits), (logged, of_logs) in zip(*split, strict=True):
        yield np.concatenate([audited, logged]), np.concatenate([of_audits, of_logs]), len(audited)


def alarms(setting: Setting, worse: tuple[float, float], days: int, seed: int) -> tuple[int, int]:
    """The day of the watch's alarm, from 1, and of the first z-test that rejects; NEVER where there is none."""
    evidence, audits, watch, naive = Bets(), Bets(), NEVER, NEVER
    for day, (found, scale, audited) in enumerate(stream(setting, worse, days, seed), 1):
        evidence, audits = evidence.after(found, scale), audits.after(found[:audited], scale[:audited])
        if evidence.alarm((1 - SHARE_OF_AUDITS) * LEVEL) or audits.alarm(SHARE_OF_AUDITS * LEVEL):
            watch = min(watch, day)
        if evidence.total / np.sqrt(evidence.squares) > norm.ppf(1 - LEVEL):
            naive = min(naive, day)
        if watch < NEVER and naive < NEVER:
            break
    return watch, naive


def simulated(setting: Setting, days: int, streams: int, workers: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Days of alarm of the watch and of the z-test, int64[streams] each."""
    worse = worse_by(setting.claim, setting.before), worse_by(setting.claim, setting.below)
    found = Parallel(n_jobs=workers)(delayed(alarms)(setting, worse, days, seed) for seed in range(streams))
    watch, naive = np.array(found).T
    return watch, naive


KEPT = {
    "exactly at its claim, exploring 2 %": Setting(),
    "exactly at its claim, exploring 5 %": Setting(0.05),
    "exactly at its claim, 2 % and 20 audits a day": Setting(audits=AUDITS_A_DAY),
    "exactly at a claim in points, 5 %": Setting(0.05, POINTS),
    "exactly at its claim, 5 %, 7 of 10 outcomes of flash arrive and 3 of pro": Setting(0.05, arrival=(0.7, 0.3)),
    "one point above its claim, 2 %": Setting(below=-0.01),
}
EXPLORED = {
    "2 %": Setting(), "2 % evenly": Setting(evenly=True), "4 %": Setting(0.04), "5 %": Setting(0.05),
    "2 % and 20 audits a day": Setting(audits=AUDITS_A_DAY),
}  # fmt: skip


def run(data: Data) -> list[Line]:
    """All lines of this part."""
    lines = []
    for what, setting in KEPT.items():
        data.say(f"watching: {what}")
        lines.append(_false(what, setting))
    for what, setting in EXPLORED.items():
        for below in (0.03, 0.05, 0.10):
            data.say(f"watching: {what}, {below:g} below")
            lines.append(_delay(what, replace(setting, below=below)))
    data.say("watching: a late change")
    return [*lines, _delay("5 %, two months after the promotion", Setting(0.05, below=0.05, before=-0.01, change=60))]


def _false(what: str, setting: Setting) -> Line:
    watch, naive = simulated(setting, DAYS, STREAMS, WORKERS)
    error = np.sqrt(LEVEL * (1 - LEVEL) / STREAMS)
    behind = (
        f"(sampling error {error:.3f}; {STREAMS} streams of {DAYS} days, {A_DAY:,} outcomes a day, looked at every day;"
        f" daily z-test {(naive < NEVER).mean():.3f})"
    )
    return Line(f"false alarms of the watch, {what}", float((watch < NEVER).mean()), behind, goals.FALSE_ALARMS)


def _delay(what: str, setting: Setting) -> Line:
    days = setting.change + LONGEST
    watch, _ = simulated(setting, days, ALARMED, WORKERS)
    late = np.where(watch < NEVER, watch - setting.change, NEVER)
    low, median, high = np.percentile(late, [10, 50, 90], method="lower")
    found = float((late < NEVER).mean())
    spread = " to ".join(f"{day}" if day < NEVER else f"over {LONGEST}" for day in (low, high))
    early = f", {(late <= 0).mean():.3f} before the change" if setting.change else ""
    behind = f"(8 in 10: {spread}; alarm within {LONGEST} days in {found:.3f} of {ALARMED} streams{early})"
    value = float(median) if median < NEVER else float("nan")
    what = f"days until the alarm, {100 * setting.below:g} points below, exploring {what}"
    return Line(what, value, behind, None, ".0f")
