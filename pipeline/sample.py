"""Rows with what they cost: what policies are tuned and measured on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.costs import Costs, Tariff
from pipeline.frontier import Rules
from pipeline.held_out import HeldOut
from pipeline.metrics import PRO, Reals
from pipeline.observed import Observed


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows to measure policies on, and what they cost; `seed` is that of the resampling."""

    rows: Observed
    costs: Costs
    seed: int

    def take(self, rows: NDArray[np.integer]) -> Sample:
        """Some of the rows, in that order."""
        return Sample(self.rows.take(rows), self.costs.take(rows), self.seed)

    @property
    def amounts(self) -> dict[str, Reals]:
        """What is averaged over requests, by the name of its metric: float64[N, 2] at flash and at pro."""
        costs = self.costs
        amounts = {"cost": costs.api, "saved": costs.api[:, PRO:] - costs.api}
        if costs.in_usd:
            amounts |= {"settled": costs.settled, "delivery": costs.delivery}
            amounts["delivery_saved"] = costs.delivery[:, PRO:] - costs.delivery
        return amounts


@dataclass(frozen=True, slots=True)
class Priced:
    """The tune part and the test part at the prices of a tariff, and the rules to choose among."""

    tuned: Sample
    test: Sample
    tariff: Tariff
    rules: Rules

    @classmethod
    def of(cls, held: HeldOut, tariff: Tariff, seed: int) -> Priced:
        """The rows that were held out, at a tariff's prices."""
        tuned, test = (Sample(rows, tariff.costs(rows), seed) for rows in (held.tune, held.test))
        return cls(tuned, test, tariff, held.rules)
