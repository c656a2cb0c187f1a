"""What the replay's requests cost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from features.graph import FEATURES
from pipeline import costs
from pipeline.costs import Costs, Tariff
from pipeline.metrics import PRO, Reals
from pipeline.observed import Observed, observed
from pipeline.settings import Delivery, Settings
from pipeline.year.world import World

# Seconds that a person loses with a wrong answer, asking again say. At this wage and at list prices always-flash and
# always-pro cost about the same in the first month, so what goes where is a question. Of five values this one was
# taken because the first router sends about 40 % to pro.
SECONDS_LOST = 15
HOURLY_WAGE_USD = 30.0
WRONG_ANSWER_USD = SECONDS_LOST * HOURLY_WAGE_USD / 3600
PRICED_AT = datetime(2024, 6, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Prices:
    """The tariff of each month.

    Attributes:
        world: whose requests are paid for.
        first: tariff of the first month.
    """

    world: World
    first: Tariff

    @classmethod
    def of(cls, world: World) -> Prices:
        """With the list prices of the bundle's models."""
        settings = Settings(delivery=Delivery(wrong_answer_usd=WRONG_ANSWER_USD))
        rows = _rows(world, 1).take(world.labelled)
        return cls(world, costs.learn(settings, world.traces.models, rows, PRICED_AT))

    def tariff(self, month: int) -> Tariff:
        """That applies in a month."""
        return self.first.scaled(PRO, self.world.price_factor(month))

    def costs(self, month: int) -> Costs:
        """Of all tasks, with that month's outcomes and prices."""
        return self.tariff(month).costs(_rows(self.world, month))


def _rows(world: World, month: int) -> Observed:
    size = len(world.traces)
    traces = replace(world.traces, outcomes=world.outcomes(month))
    features = np.zeros((size, len(FEATURES)), np.float32)
    return observed(traces, features, np.ones(size, np.float32), _unknown(size), world.seed)


def _unknown(size: int) -> Reals:
    return np.full((size, 2), 0.5)
