"""How many labelled tasks a target needs, before they are paid for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.bags import Ints
from features.errors import InputError, LearningError
from pipeline import frontier, guarantee, router
from pipeline.frontier import Gains
from pipeline.guarantee import Claim
from pipeline.metrics import Reals
from pipeline.parts import FIFTHS, folds
from pipeline.router import Smoothing
from pipeline.traces import Traces

SIZES = (500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000)
NEAR = 0.1
TUNE_SHARE = FIFTHS.count("tune") / len(FIFTHS)
MADE_UP_ROWS = 20_000
FEWEST_PILOTS, FOLDS = 200, 5
# What is taken for granted where no pilot says it: about the mean of the four data sets in the README.
FLASH_ONLY, APGR = 0.05, 0.65


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What two tiers and a router are expected to do.

    Attributes:
        flash, pro: shares of tasks answered correctly, in (0, 1), pro's the larger.
        flash_only: share that flash alone answers correctly; `FLASH_ONLY`, or all there can be, where not given.
        apgr: of the router, in (0.5, 1).

    Raises:
        InputError: out of range, or together impossible.
    """

    flash: float
    pro: float
    flash_only: float | None = None
    apgr: float = APGR

    def __post_init__(self) -> None:
        if not 0 < self.flash < self.pro < 1:
            raise InputError(
                f"--flash-accuracy {self.flash:g}, --pro-accuracy {self.pro:g}: expected shares of correct answers, "
                "the second larger; where pro is not better there is nothing to route"
            )
        if not 0 <= self.alone <= self._most:
            raise InputError(
                f"--flash-only {self.alone:g}: at most {self._most:.3g} is possible, because flash answers these "
                "tasks correctly and pro does not"
            )
        if not 0.5 < self.apgr < 1:
            raise InputError(f"--apgr {self.apgr:g}: expected more than 0.5, which is chance, and less than 1")

    @property
    def alone(self) -> float:
        """The share that flash alone answers correctly."""
        return min(FLASH_ONLY, self._most) if self.flash_only is None else self.flash_only

    @property
    def _most(self) -> float:
        return min(self.flash, 1 - self.pro)


@dataclass(frozen=True, slots=True)
class Plan:
    """What labels buy.

    Attributes:
        claim: to certify.
        basis: what the figures rest on, for people.
        rates: least share sent to pro that can probably be certified, by number of labelled tasks in all; 1 where
            nothing but always-pro can.
        limit: the share with labels without end.
        enough: labelled tasks that come within `NEAR` of the limit; 0 where always-pro itself does.
    """

    claim: Claim
    basis: str
    rates: dict[int, float]
    limit: float
    enough: int


def from_traces(traces: Traces, claim: Claim, seed: int) -> Plan:
    """A plan from a pilot: routers are fitted on parts of it, and each judges the tasks of the part it has not seen.

    Raises:
        LearningError: too few traces have outcomes of both tiers.
    """
    known = traces.take(np.flatnonzero(traces.both_observed))
    if len(known) < FEWEST_PILOTS:
        raise LearningError(
            f"{traces.source}: only {len(known)} traces have outcomes of both tiers, a pilot takes {FEWEST_PILOTS}: "
            "label more, or state assumptions with --flash-accuracy and --pro-accuracy"
        )
    gain, evidence = _out_of_fold(known, seed)
    rules = frontier.declare(gain, evidence)
    place = rules.places(gain, evidence)
    groups = np.unique(guarantee.codes(known.group, seed), return_inverse=True)[1]
    rate = 1 - np.cumsum(np.bincount(place, minlength=len(rules)))[: len(rules)] / len(place)
    flash, pro = known.outcomes.mean(0)
    basis = f"{len(known):,} pilot traces; flash answers {flash:.1%}, pro {pro:.1%}"
    return _plan(claim, basis, known.outcomes, groups, place, rate)


def _out_of_fold(traces: Traces, seed: int) -> tuple[Gains, Gains]:
    """Gain and evidence of every row by a router that was not fitted on it, float32[N] each."""
    gain, evidence = np.empty(len(traces), np.float32), np.empty(len(traces), np.float32)
    fold = folds(traces.group, router.labels(traces.outcomes), FOLDS, seed)
    for held in np.unique(fold):
        rows = np.flatnonzero(fold == held)
        fitted, _ = router.fit(traces.take(np.flatnonzero(fold != held)), Smoothing())
        features, evidence[rows] = fitted.measure(traces.take(rows))
        gain[rows] = fitted.gain_of(features)
    return gain, evidence


def from_assumptions(assumed: Assumptions, claim: Claim) -> Plan:
    """A plan from stated assumptions.

    The share of the gap that is recovered at a pro rate r is taken as 1 - (1 - r)^m with m = APGR / (1 - APGR), which
    has that APGR: on the bundle it puts CPT50 and CPT80 at 0.28 and 0.54, where 0.27 and 0.54 were measured. Tasks that
    flash alone answers correctly are sent anywhere at random.
    """
    rate = np.linspace(1, 0, frontier.STEPS + 1)
    gap = assumed.pro - assumed.flash
    lost = gap * (1 - rate) ** (assumed.apgr / (1 - assumed.apgr)) + assumed.alone * (1 - rate)
    pro_only, both = gap + assumed.alone, assumed.flash - assumed.alone
    shares = np.array([pro_only, assumed.alone, both, 1 - pro_only - assumed.alone - both])
    kind = np.repeat(np.arange(4), np.rint(shares * MADE_UP_ROWS).astype(int))
    outcomes = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])[kind]
    place = np.full(len(kind), len(rate))
    for which, share in ((0, lost / pro_only), (1, 1 - rate)):
        rows = np.flatnonzero(kind == which)
        place[rows] = np.searchsorted(share, (np.arange(len(rows)) + 0.5) / max(len(rows), 1))
    basis = (
        f"assumptions: flash answers {assumed.flash:.1%}, pro {assumed.pro:.1%}, flash alone {assumed.alone:.1%}; "
        f"a router with an APGR of {assumed.apgr:g}"
    )
    return _plan(claim, basis, outcomes, np.arange(len(kind)), place, rate)


def _plan(claim: Claim, basis: str, outcomes: Reals, groups: Ints, place: Ints, rate: Reals) -> Plan:
    per_group = len(groups) / (int(groups.max()) + 1)
    needed = guarantee.labels_needed(claim, outcomes, groups, place, len(rate)) * per_group / TUNE_SHARE
    rates = {size: float(rate[needed <= size].min()) for size in SIZES}
    limit = float(rate[np.isfinite(needed)].min())
    enough = float(needed[rate <= limit + NEAR].min())
    return Plan(claim, basis, rates, limit, int(np.ceil(enough / 100) * 100))
