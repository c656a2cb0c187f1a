"""Twelve months of traffic, made of real tasks: which are asked when, what either tier answers, and what becomes known.

The tasks and both tiers' answers are real. What happens in the year is simulated on them: flash gets worse without a
word, a price falls, the traffic shifts, outcomes come late or never.

The same tasks come again in later months, and a router that had learned their answers would shine with its memory. So
there are two services, each with half of the tasks, and each learns from the logs of the other: no version decides on
a task that it has learned from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.bags import Ints
from features.errors import LearningError
from pipeline.metrics import FLASH, Reals
from pipeline.traces import Traces

MONTHS, DAYS = 12, 30.0
SERVICES = 2
SHIFTED = "math"  # the category of GSM8K in the bundle

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Events:
    """What happens in the year. Months count from 1, and what happens holds from the first day of its month on.

    Attributes:
        labelled: tasks with both outcomes, at hand before the first month; none of them is asked in it.
        requests: of a month, at each of the two services.
        explore: in (0, 0.5), share of the requests of those who explore that goes to the tier not chosen.
        missing: in [0, 1), share of the outcomes that never become known.
        delay_days: within which the others do, evenly.
        worse_month, worse_points, worse_share: flash loses so much accuracy in so large a share of the categories.
        price_month, price_factor: pro's prices are multiplied.
        mix_month, mix_share: the share of the requests that are of the category `SHIFTED`; before, as in the bundle.
    """

    labelled: int = 3_000
    requests: int = 8_000
    explore: float = 0.02
    missing: float = 0.3
    delay_days: float = DAYS
    worse_month: int = 5
    worse_points: float = 0.1
    worse_share: float = 1 / 3
    price_month: int = 8
    price_factor: float = 1 / 3
    mix_month: int = 9
    mix_share: float = 0.5


@dataclass(frozen=True, slots=True)
class Requests:
    """A month's requests at one service, in the order of their times.

    Attributes:
        tasks: int64[N], row of each in the world's traces.
        time: float64[N], days since the year began.
        luck: float64[N] in [0, 1); below the chance that a service explores with, the tier not chosen is asked.
        known: float64[N], day on which its outcome is known; infinity for never.
    """

    tasks: Ints
    time: Reals
    luck: Reals
    known: Reals


@dataclass(frozen=True)
class World:
    """The tasks, and what happens to them; the same for the same seed.

    Attributes:
        traces: real tasks, with the outcomes of both tiers.
        seed: of everything that is drawn.
        events: of the year.

    Raises:
        LearningError: too few tasks, or a task that lacks an outcome.
    """

    traces: Traces
    seed: int
    events: Events = field(default_factory=Events)

    def __post_init__(self) -> None:
        if not self.traces.both_observed.all() or len(self.traces) < 2 * self.events.labelled:
            raise LearningError(
                f"{self.traces.source}: a year takes {2 * self.events.labelled:,} tasks or more with the outcomes of "
                f"both tiers, and nothing else; there are {self.traces.both_observed.sum():,} of {len(self.traces):,}"
            )

    @cached_property
    def part(self) -> Ints:
        """Of each task: -1 labelled before the year, else the service that is asked it. Groups stay whole."""
        codes, names = pd.factorize(self.traces.group)
        order = self._draw("parts").permutation(len(names))[codes]
        part = order % SERVICES
        part[np.argsort(order, kind="stable")[: self.events.labelled]] = -1
        straddling = np.isin(codes, codes[part == -1])
        return np.where(straddling, -1, part)

    @property
    def labelled(self) -> Ints:
        """Tasks at hand before the year, ascending."""
        return np.flatnonzero(self.part == -1)

    @property
    def shifted(self) -> Mask:
        """Tasks of the category whose share changes."""
        return np.asarray(self.traces.category == SHIFTED)

    @cached_property
    def spoiled(self) -> Mask:
        """Tasks that flash answers right before it gets worse, and wrong then."""
        draw, category = self._draw("worse"), self.traces.category
        names = np.unique(category.astype(str))
        spoiled = np.zeros(len(self.traces), np.bool_)
        for name in draw.permutation(names)[: round(len(names) * self.events.worse_share)]:
            members = category == name
            right = np.flatnonzero(members & (self.traces.outcomes[:, FLASH] == 1))
            spoiled[draw.permutation(right)[: round(members.sum() * self.events.worse_points)]] = True
        return spoiled

    def outcomes(self, month: int) -> Reals:
        """What either tier's answer to each task is in a month, float64[N, 2]."""
        outcomes = self.traces.outcomes.copy()
        if month >= self.events.worse_month:
            outcomes[self.spoiled, FLASH] = 0.0
        return outcomes

    def price_factor(self, month: int) -> float:
        """What pro's prices are multiplied with in a month."""
        return self.events.price_factor if month >= self.events.price_month else 1.0

    def share(self, month: int) -> float:
        """Share of a month's requests that are of the category `SHIFTED`."""
        return self.events.mix_share if month >= self.events.mix_month else float(self.shifted.mean())

    def weights(self, month: int) -> Reals:
        """How often each task counts in a month's traffic, float64[N], mean 1."""
        before, now = float(self.shifted.mean()), self.share(month)
        if not 0 < before < 1:
            return np.ones(len(self.traces))
        return np.asarray(np.where(self.shifted, now / before, (1 - now) / (1 - before)), float)

    def requests(self, month: int, service: int) -> Requests:
        """A month's requests at one service."""
        draw, events = self._draw("requests", month, service), self.events
        tasks = np.flatnonzero(self.part == service)
        weights = self.weights(month)[tasks]
        time = DAYS * (month - 1 + np.sort(draw.random(events.requests)))
        never = draw.random(events.requests) < events.missing
        return Requests(
            tasks=draw.choice(tasks, events.requests, p=weights / weights.sum()),
            time=time,
            luck=draw.random(events.requests),
            known=np.where(never, np.inf, time + events.delay_days * draw.random(events.requests)),
        )

    def sample(self, month: int, service: int, count: int) -> Ints:
        """Different tasks of a month's requests at one service, drawn evenly: int64[count]."""
        tasks = pd.unique(self.requests(month, service).tasks)
        return np.asarray(self._draw("sample", month, service).permutation(tasks)[:count], np.int64)

    def _draw(self, purpose: str, *more: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *purpose.encode(), *more])
