"""Whether the tiers still answer as they did: base rates and calibration, from logs that saw one tier a request.

Outcomes are taken as missing at random, given what the router reads and the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.bags import Ints
from pipeline.drift.distance import BINS, Mean, same_mean
from pipeline.drift.finding import TOLD, Finding
from pipeline.evidence import Evidence
from pipeline.metrics import PRO, Reals
from pipeline.nuisance import Asked, nuisances, regressed
from pipeline.observed import Observed
from pipeline.off_policy import pseudo
from pipeline.schema import TIERS

TOPIC = "answers"
MOVED_POINTS = 2.0
MOST_GROUPS = 150_000  # of them a mean is known to a tenth of a point, a twentieth of what matters
FEWEST_SEEN = 50  # groups with an outcome of a tier
MOST_UNCOVERED = 0.005  # share of the requests that a tier was never asked, for all of them to be spoken of
GAIN_BINS = 20
FOLDS = 2  # of the arrival of outcomes: a regression on a dozen columns, and a month may have a million rows
SECONDS_PER_DAY = 86_400.0

THE_MONTH, THE_REFERENCE = "this month", "the requests that the router was chosen on"  # the two sides, in sentences
LEFT_OUT = "Of the rows {now} say nothing sound about the tiers: limits, fall-backs, no propensity."
MISSING = "Of the answers {now} have no outcome; they are taken as missing for reasons that the router reads."


@dataclass(frozen=True, slots=True)
class Seen:
    """The rows of a month, or of what it is compared with, whose tier was asked by a known chance.

    Attributes:
        rows: of them, R.
        groups: int64[R], codes from 0 on.
        asked, seen: bool[R, 2], that a tier was asked, and that its outcome arrived.
        chances: float64[R, 2], of being asked.
        credited: float64[R, 2], doubly robust outcomes.
        arrival: float64[R, 2], P(outcome seen | asked).
    """

    rows: Observed
    groups: Ints
    asked: NDArray[np.bool_]
    seen: NDArray[np.bool_]
    chances: Reals
    credited: Reals
    arrival: Reals

    @property
    def weight(self) -> Reals:
        """How many outcomes each that was seen stands for, those that are missing counted: float64[R, 2]."""
        return self.seen / self.arrival

    def uncovered(self, tier: int) -> float:
        """Share of the rows that a tier was never asked, by any chance."""
        return float((self.chances[:, tier] == 0).mean())

    def enough(self, tier: int) -> bool:
        """Whether enough groups have an outcome of a tier."""
        return len(np.unique(self.groups[self.seen[:, tier]])) >= FEWEST_SEEN

    @classmethod
    def of(cls, known: Evidence, seed: int) -> Seen:
        """The usable rows, or none of them; the champion's own probabilities are what is expected."""
        usable = _looked_at(known, seed)
        rows, asked, chances = known.rows.take(usable), known.asked[usable], known.chances[usable]
        none = np.zeros_like(rows.probabilities)
        if not len(rows):
            return cls(rows, rows.groups, asked, asked, chances, none, none)
        by_chance = Asked(rows.outcomes, asked, chances, rows.groups, _design(rows))
        fitted = nuisances(by_chance, seed, FOLDS, expected=rows.probabilities)
        return cls(rows, rows.groups, asked, by_chance.seen, chances, pseudo(by_chance, fitted), fitted.arrival)

    def largest(self, tier: int) -> float:
        """The most that the doubly robust outcome of a row can be off: what the least likely one counts."""
        chances = self.chances[:, tier]
        return float((1 / (chances * self.arrival[:, tier])[chances > 0]).max())


def _looked_at(known: Evidence, seed: int) -> Ints:
    """The usable rows of at most `MOST_GROUPS` groups, drawn at random."""
    groups = known.rows.groups
    drawn = np.random.default_rng(seed).permutation(groups.max(initial=-1) + 1) < MOST_GROUPS
    return np.flatnonzero(known.usable & drawn[groups])


def _design(rows: Observed) -> Reals:
    """What the arrival of an outcome may depend on: features, evidence, both predictions, and the time in days."""
    known = ~np.isnat(rows.time)
    days = np.zeros(len(rows))
    if known.any():
        since = rows.time - rows.time[known].min()
        days[known] = since[known].astype("timedelta64[s]").astype(float) / SECONDS_PER_DAY
    return np.column_stack([_known(rows), days])


def _known(rows: Observed) -> Reals:
    """What the router makes of requests, but for the time: float64[N, 13]."""
    return np.column_stack([rows.features, rows.evidence, rows.probabilities]).astype(float)


def answers(reference: Evidence, newest: Evidence, seed: int) -> Iterator[Finding]:
    """Base rate, calibration and its error of each tier, and how much of the month could be used."""
    before, month = Seen.of(reference, seed), Seen.of(newest, seed)
    for tier, name in enumerate(TIERS):
        few = [told for told, seen in ((THE_MONTH, month), (THE_REFERENCE, before)) if not seen.enough(tier)]
        yield _too_few(f"Base rate of {name}", name, few) if few else _base_rate(name, tier, before, month)
        yield _too_few(f"Calibration of {name}", name, few) if few else _calibration(name, tier, before, month)
    for tier, name in enumerate(TIERS):
        if month.seen[:, tier].any() and before.seen[:, tier].any():
            yield _error(name, tier, before, month)
    yield from _used(newest, month)


def _too_few(title: str, name: str, sides: Sequence[str]) -> Finding:
    why = (
        f"Too few answers of {name} were graded in {' and in '.join(sides)}: {FEWEST_SEEN} are needed; send some "
        "requests to both tiers."
    )
    return _untested(title, why)


def _untested(title: str, why: str) -> Finding:
    return Finding(name=title, topic=TOPIC, value=float("nan"), kind="points", meaning=why)


def _base_rate(name: str, tier: int, reference: Seen, month: Seen) -> Finding:
    title = f"Base rate of {name}"
    for told, side in ((THE_MONTH, month), (THE_REFERENCE, reference)):
        if (uncovered := side.uncovered(tier)) > MOST_UNCOVERED:
            why = (
                f"In {told} {uncovered:.1%} of the requests could never have been answered by {name}, so nothing says "
                "how it would have done there: let the service explore, or ask both tiers a sample."
            )
            return _untested(title, why)
    before, now = (
        Mean.over(side.credited[:, tier], np.ones(len(side.groups)), side.groups, side.largest(tier))
        for side in (reference, month)
    )
    return Finding.of(
        f"{name.capitalize()} would answer {{now}} of this month's requests rightly; it was {{before}}.",
        before.value,
        now.value,
        "share",
        name=title,
        topic=TOPIC,
        value=100 * (now.value - before.value),
        kind="points",
        measure="change, points",
        material=MOVED_POINTS,
        p_value=same_mean(before, now),
    )


def _calibration(name: str, tier: int, reference: Seen, month: Seen) -> Finding:
    """Outcome minus prediction where the tier is asked now and was before.

    Rows of either side count as often as the other one would have asked them: by the product of both chances, whoever
    asked (overlap weights; Li, Morgan and Zaslavsky 2018). That knows less of what is rarely asked, and far more of
    what is: divided by its chance, a row beside the threshold would count fifty times. Labelled rows were all asked.
    """
    title = f"Calibration of {name}"
    weights = _asked_before(reference, month, tier), _asked_as_often(reference, month, tier)
    if not all((weight * side.asked[:, tier]).any() for weight, side in zip(weights, (month, reference), strict=True)):
        return _untested(title, f"The requests that {name} is asked now are unlike any that the router was chosen on.")
    now, before = (
        Mean.over(
            weight * side.weight[:, tier] * _missed(side, tier),
            weight * side.asked[:, tier],
            side.groups,
            (weight * side.weight[:, tier]).max(),
        )
        for weight, side in zip(weights, (month, reference), strict=True)
    )
    return Finding.of(
        f"Where {name} is asked now and was before, its success is {{now}} points off what the router predicts; it was "
        "{before}.",
        100 * before.value,
        100 * now.value,
        "points",
        name=title,
        topic=TOPIC,
        value=100 * (now.value - before.value),
        kind="points",
        measure="change, points",
        material=MOVED_POINTS,
        p_value=same_mean(before, now),
    )


def _missed(side: Seen, tier: int) -> Reals:
    """Outcome minus prediction, 0 where the outcome is not known: float64[R]."""
    rows = side.rows
    return np.where(side.seen[:, tier], np.nan_to_num(rows.outcomes[:, tier]) - rows.probabilities[:, tier], 0.0)


def _asked_before(reference: Seen, month: Seen, tier: int) -> Reals:
    """How likely the tier would have been asked each row of the month by whoever decided the reference: float64[R].

    By regression, not by the router's gain: that was another router then.
    """
    return regressed(_known(reference.rows), reference.chances[:, tier], _known(month.rows))


def _asked_as_often(reference: Seen, month: Seen, tier: int) -> Reals:
    """How likely the month's policies would have asked the tier each row of the reference, by its gain: float64[N]."""
    ends = np.unique(np.quantile(month.rows.gain, np.linspace(0, 1, GAIN_BINS + 1)[1:-1]))
    bins = len(ends) + 1
    mine, theirs = (np.searchsorted(ends, each.rows.gain, side="left") for each in (month, reference))
    rows = np.bincount(mine, minlength=bins)
    asked = np.bincount(mine, month.chances[:, tier], minlength=bins)
    return np.asarray((asked / np.maximum(rows, 1))[theirs])


def _error(name: str, tier: int, reference: Seen, month: Seen) -> Finding:
    ends = np.unique(np.quantile(reference.rows.probabilities[:, tier], np.linspace(0, 1, BINS + 1)[1:-1]))
    before, now = (
        _distance(side.rows.probabilities[seen, tier], side.rows.outcomes[seen, tier], side.weight[seen, tier], ends)
        for side, seen in ((reference, reference.seen[:, tier]), (month, month.seen[:, tier]))
    )
    return Finding.of(
        f"Over the range of its predictions for {name} the router is off by {{now}}; it was {{before}}.",
        before,
        now,
        "share",
        name=f"Calibration error of {name}",
        topic=TOPIC,
        value=100 * (now - before),
        kind="points",
        measure="change, points",
        verdict=TOLD,
    )


def _distance(predicted: Reals, outcome: Reals, weight: Reals, ends: Reals) -> float:
    """Root mean square distance of success from prediction over bins, what chance adds taken out (arXiv 1909.10155).

    Args:
        predicted, outcome, weight: float64[N].
        ends: of the bins, ascending, float64[K].
    """
    place = np.searchsorted(ends, predicted, side="left")
    rows, size = np.bincount(place), np.bincount(place, weight)
    gap = np.bincount(place, weight * (outcome - predicted)) / np.where(size, size, 1)
    chance = np.bincount(place, (weight * (outcome - predicted - gap[place])) ** 2) / np.where(size, size, 1) ** 2
    some = rows > 1
    beyond = gap[some] ** 2 - chance[some] * rows[some] / (rows[some] - 1)
    return float(np.sqrt(max((size[some] * beyond).sum() / (size[some].sum() or 1), 0.0)))


def _used(newest: Evidence, month: Seen) -> Iterator[Finding]:
    """How much of the month the findings about answers rest on."""
    once = month.asked.sum(1) == 1
    rows, asked, seen = len(newest.rows), month.asked.sum(), month.seen.sum()
    yield _share("Left out", rows - newest.usable.sum(), rows, LEFT_OUT)
    yield _share("Outcomes missing", asked - seen, asked, MISSING)
    yield _share("Sent to pro", month.asked[once, PRO].sum(), once.sum(), "Of the decided requests {now} went to pro.")


def _share(name: str, part: float, whole: float, sentence: str) -> Finding:
    share = float(part / whole) if whole else float("nan")
    return Finding.of(
        sentence, None, share, "share", name=name, topic=TOPIC, value=share, kind="share", measure="share", verdict=TOLD
    )
