"""All operating points at once: what each decision rule, from always-pro to always-flash, gets and costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.bags import Ints
from pipeline.costs import Costs
from pipeline.metrics import FLASH, PRO, Reals

ALWAYS_PRO, ALWAYS_FLASH = -1.0, 2.0
EVIDENCE_PERCENTILE = 0.5
STEPS = 200

Gains = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Rules:
    """K decision rules, each sending no request to pro that the one before kept from it.

    Attributes:
        thresholds: float64[K], ascending and exact in float32; the first is always-pro, the last always-flash.
        evidence_floor: below it a request goes to pro under every rule but the last.
    """

    thresholds: Reals
    evidence_floor: float

    def __len__(self) -> int:
        return len(self.thresholds)

    def places(self, gain: Gains, evidence: Gains) -> Ints:
        """For each of N requests the number of rules that send it to pro, int64[N] in [1, K)."""
        found = places(self.thresholds, gain)
        return np.where(evidence < np.float32(self.evidence_floor), len(self) - 1, found)


def declare(gain: Gains, evidence: Gains) -> Rules:
    """The rules for a router, from rows that no threshold will be chosen on: those of the fit part,
    each as the vocabulary without its own group sees it.

    The thresholds are quantiles of the gain.
    """
    return Rules(steps(gain, ALWAYS_PRO, ALWAYS_FLASH), evidence_floor(evidence))


def evidence_floor(evidence: Gains) -> float:
    """A low percentile of the evidence of rows that were not fitted on.

    Half a percent: at 1 % the floor alone lost 0.004 APGR on routellm_mmlu in the random split, at 0.5 % 0.002.
    """
    return float(np.float32(np.percentile(evidence, EVIDENCE_PERCENTILE)))


def steps(score: NDArray[np.floating], first: float, last: float) -> Reals:
    """At most `STEPS` thresholds at evenly spaced quantiles of a score, between those of the two constants."""
    inner = np.unique(np.quantile(score, np.linspace(0, 1, STEPS), method="inverted_cdf")).astype(float)
    return np.concatenate([[first], inner[(inner > first) & (inner < last)], [last]])


def places(thresholds: Reals, score: NDArray[np.floating]) -> Ints:
    """How many of the rules send each score to pro, int64[N] in [1, K); the last sends none."""
    return np.searchsorted(thresholds[:-1], score, side="right")


def stacked(outcomes: Reals, costs: Costs) -> Reals:
    """Of N rows at flash and at pro: pro asked, answered correctly, cost, total delivery cost; float64[4, N, 2]."""
    return np.stack([np.tile([0.0, 1.0], (len(outcomes), 1)), outcomes, costs.api, costs.delivery])


@dataclass(frozen=True, slots=True)
class Frontier:
    """What each of K rules does on the same rows, float64[K].

    Attributes:
        pro_rate: share of requests sent to pro.
        accuracy: share answered correctly.
        cost, delivery: mean of `Costs.api` and of `Costs.delivery`.
        unit: of both, and how far it rests on estimates.
        in_usd: whether the costs are money.
    """

    pro_rate: Reals
    accuracy: Reals
    cost: Reals
    delivery: Reals
    unit: str
    in_usd: bool

    @classmethod
    def over(cls, place: Ints, steps: int, outcomes: Reals, costs: Costs) -> Frontier:
        """Of K rules on N rows, from the number of rules that send each to pro."""
        amounts = stacked(outcomes, costs)
        kept = amounts[:, :, FLASH] - amounts[:, :, PRO]
        change = np.stack([np.bincount(place, row, minlength=steps + 1)[:steps] for row in kept])
        sums = amounts[:, :, PRO].sum(1)[:, None] + np.cumsum(change, axis=1)
        rate, accuracy, cost, delivery = sums / len(place)
        return cls(rate, accuracy, cost, delivery, costs.told, costs.in_usd)

    @classmethod
    def at_random(cls, outcomes: Reals, costs: Costs) -> Frontier:
        """Of sending a share of the requests to pro at random, the share falling from 1 to 0; expected values."""
        rate = np.linspace(1, 0, STEPS + 1)
        means = [column.mean(0) for column in (outcomes, costs.api, costs.delivery)]
        accuracy, cost, delivery = (flash + rate * (pro - flash) for flash, pro in means)
        return cls(rate, accuracy, cost, delivery, costs.told, costs.in_usd)
