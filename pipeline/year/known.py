"""What a service may know: labelled tasks, decisions with the outcomes that have arrived, tasks asked of both tiers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from features.bags import Ints
from pipeline.metrics import Reals
from pipeline.traces import Traces
from pipeline.year.world import DAYS, Mask, Requests

BEGIN = np.datetime64("2026-01-01", "us")
MICROSECONDS = 86_400e6
UNCHOSEN = -1


@dataclass(frozen=True, slots=True)
class Rows:
    """Traces that are made of tasks.

    Attributes:
        tasks: int64[N], row of each in the world's traces.
        time: float64[N], days since the year began.
        outcomes: float64[N, 2], NaN where not observed.
        chosen: int8[N], -1 where no router chose.
        propensity: float64[N], NaN where no router chose.
        known: float64[N], day from which on the outcomes are known.
    """

    tasks: Ints
    time: Reals
    outcomes: Reals
    chosen: Ints
    propensity: Reals
    known: Reals

    def take(self, rows: Ints) -> Rows:
        """Some of them, in that order."""
        return Rows(**{item.name: getattr(self, item.name)[rows] for item in fields(self)})


def asked_both(tasks: Ints, outcomes: Reals, time: Reals) -> Rows:
    """Tasks that both tiers were asked, with the outcomes float64[N, 2] of each; known at once."""
    none = np.full(len(tasks), UNCHOSEN)
    return Rows(tasks, time, outcomes, none, np.full(len(tasks), np.nan), time)


def logged(requests: Requests, to_pro: Mask, outcomes: Reals, chance: Reals) -> Rows:
    """A service's decisions.

    Args:
        requests: N of them.
        to_pro: bool[N], what its router decides.
        outcomes: float64[T, 2], of all tasks in that month.
        chance: float64[N], with which each goes to the other tier.
    """
    explored = requests.luck < chance
    chosen = (to_pro ^ explored).astype(np.int64)
    each = np.arange(len(chosen))
    seen = np.full((len(chosen), 2), np.nan)
    seen[each, chosen] = outcomes[requests.tasks, chosen]
    propensity = np.where(explored, chance, 1 - chance)
    return Rows(requests.tasks, requests.time, seen, chosen, propensity, requests.known)


def traces(tasks: Traces, parts: Sequence[Rows], day: float) -> Traces:
    """The rows as traces, in the state of a day: what is not known by then is not observed."""
    rows = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in (item.name for item in fields(Rows))
    }
    taken = tasks.take(rows["tasks"])
    chosen = rows["chosen"].astype(np.int8)
    return replace(
        taken,
        outcomes=np.where((rows["known"] <= day)[:, None], rows["outcomes"], np.nan),
        time=BEGIN + (rows["time"] * MICROSECONDS).astype("timedelta64[us]"),
        chosen=chosen,
        served=chosen,
        propensity=rows["propensity"],
        decided_by=np.where(chosen == UNCHOSEN, "", "replayed").astype(object),
    )


def before(count: int, seed: int) -> Reals:
    """Days in the month before the year, float64[count], ascending."""
    return np.sort(DAYS * (np.random.default_rng([seed, count]).random(count) - 1))
