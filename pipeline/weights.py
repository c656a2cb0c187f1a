"""How often each outcome counts in learning: more, the less likely it was that it would be seen, and less with age.

A router that learned from its own logs as they are would learn from what it chose to see. Each observed outcome stands
for the inverse of the probability with which its tier was asked (Horvitz and Thompson 1952). These weights are
clipped, because a word seen in one prompt of weight 50 is no fifty prompts, and their mean over the observed outcomes
of a tier is 1, so that the smoothing of the vocabulary keeps its meaning. Outcomes have to be missing at random, given
the features. What is old counts less, by half after each half-life; that is not evened out again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.errors import LearningError
from pipeline.evidence import asked_by_chance
from pipeline.metrics import Reals
from pipeline.schema import TIERS
from pipeline.traces import Traces

# A draft in the replayed year had a regret of 0.89 with 4 and of 0.99 with 10: few heavy rows are noise.
CLIP = 4.0
DAY = np.timedelta64(1, "D")


@dataclass(frozen=True, slots=True)
class Weights:
    """What outcomes count.

    Attributes:
        rows: int64[M], the traces that something can be learned from.
        outcomes: float64[M, 2], of these, NaN where not observed.
        values: float64[M, 2], > 0; 1 where not observed.
        seen: outcomes observed of each tier.
        effective: as many outcomes of weight 1 would tell as much: Kish's effective sample size, of each tier.
    """

    rows: NDArray[np.int64]
    outcomes: Reals
    values: Reals
    seen: tuple[int, ...]
    effective: tuple[float, ...]


def weigh(
    traces: Traces, half_life_days: float | None = None, clip: float = CLIP, now: np.datetime64 | None = None
) -> Weights:
    """What each outcome of traces counts.

    Outcomes of both tiers, and outcomes in traces that were not chosen by a router, were seen for certain. Those of
    logged decisions without a propensity, or served by another tier than was chosen, count for nothing.

    Args:
        traces: labelled traces, audited tasks, logged decisions.
        half_life_days: > 0; None: what is old counts like what is new. A trace without a time is as old as the oldest.
        clip: >= 1, most that an outcome counts, relative to one that was seen for certain.
        now: moment that age is counted from; that of the newest trace where not given.

    Raises:
        LearningError: no trace is left to learn from.
    """
    asked, chances = asked_by_chance(traces)
    labelled = (traces.chosen < 0) & ~np.isnan(traces.outcomes).all(1)
    asked[labelled], chances[labelled] = True, 1.0
    outcomes = np.where(asked, traces.outcomes, np.nan)
    rows = np.flatnonzero(~np.isnan(outcomes).all(1))
    if not len(rows):
        raise LearningError(
            f"{traces.source}: no outcome can be learned from: none has arrived, or no decision has a propensity: log "
            "decisions with 'explore' above 0, or ask both tiers a sample (tier-router collect)"
        )
    outcomes, chances = outcomes[rows], chances[rows]
    observed = ~np.isnan(outcomes)
    with np.errstate(divide="ignore"):
        values = np.where(observed, np.minimum(1 / chances, clip), 1.0)
    for tier in range(len(TIERS)):
        seen = observed[:, tier]
        values[seen, tier] /= values[seen, tier].mean() if seen.any() else 1.0
    values = np.where(observed, values * _decay(traces.time[rows], half_life_days, now)[:, None], 1.0)
    return Weights(rows, outcomes, values, tuple(observed.sum(0).tolist()), effective(values, observed))


def learnable(traces: Traces) -> tuple[Traces, Weights | None]:
    """What of traces can be learned from, and what it counts; all of it and None where no decision was logged.

    Raises:
        LearningError: no trace is left to learn from.
    """
    if not (traces.chosen >= 0).any():
        return traces, None
    weights = weigh(traces)
    return traces.take(weights.rows).with_outcomes(weights.outcomes), weights


def effective(values: Reals, observed: NDArray[np.bool_]) -> tuple[float, ...]:
    """Kish's effective sample size of each tier's observed outcomes, (sum w)**2 / sum w**2; 0 where there is none."""
    counted = np.where(observed, values, 0.0)
    squares = (counted**2).sum(0)
    return tuple(np.divide(counted.sum(0) ** 2, squares, out=np.zeros(len(squares)), where=squares > 0).tolist())


def _decay(time: NDArray[np.datetime64], half_life_days: float | None, now: np.datetime64 | None) -> Reals:
    known = ~np.isnat(time)
    if half_life_days is None or not known.any():
        return np.ones(len(time))
    times = np.where(known, time, time[known].min())
    age = (max(times.max(), now) if now is not None else times.max()) - times
    return np.asarray(0.5 ** (age / DAY / half_life_days))
