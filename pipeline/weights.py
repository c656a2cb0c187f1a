"""How often each outcome counts in learning: more, the less likely it was that it would be seen, and less with age.

A router that learned from its own logs as they are would learn from what it chose to see. Each observed outcome stands
for the inverse of the probability with which its tier was asked (Horvitz and Thompson 1952). These weights are
clipped, because a word seen in one prompt of weight 50 is no fifty prompts, and their mean over the observed outcomes
of a tier is 1, so that the smoothing of the vocabulary keeps its meaning. Outcomes have to be missing at random, given
the features.

Two things make an outcome count less, and are not evened out again. What was logged long ago counts half as much after
each half-life; labelled and audited tasks, which are few and tell of both tiers, do not age (in the replayed year
regret was 0.92 where they did and 0.76 where not). And a prompt that is asked again and again counts once, as much as
the weightiest of its outcomes (1.16 and 0.91): otherwise a router learns what is asked often in place of what is hard.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.errors import LearningError
from features.graph import REQUEST_INPUTS
from pipeline.evidence import asked_by_chance
from pipeline.metrics import Reals
from pipeline.schema import TIERS
from pipeline.traces import Traces

# A draft in the replayed year had a regret of 0.89 with 4 and of 0.99 with 10: few heavy rows are noise.
CLIP = 4.0
LEAST_DECAY = 1e-6  # what is older counts for nothing, but is no zero to divide by
DAY = np.timedelta64(1, "D")


@dataclass(frozen=True, slots=True)
class Weights:
    """What outcomes count.

    Attributes:
        rows: int64[M], the traces that something can be learned from; one for several where a request has come again.
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
        half_life_days: > 0, of logged decisions; None: what is old counts like what is new. One without a time is as
            old as the oldest.
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
    logged = traces.chosen[rows] >= 0
    decay = np.where(logged, _decay(traces.time[rows], half_life_days, now), 1.0)
    values = np.where(observed, values * decay[:, None], 0.0)
    if not logged.any():
        return _weights(rows, outcomes, values, values)
    prompts = _prompts(traces, rows)
    values *= _once(prompts, values)
    kept, sums = _merged(_requests(traces, rows, prompts), outcomes, values, logged)
    return _weights(rows[kept], outcomes[kept], sums, values)


def _weights(rows: NDArray[np.int64], outcomes: Reals, values: Reals, each: Reals) -> Weights:
    """Of rows, some of which stand for several; `each`, float64[N, 2], is what all of these count, 0 not observed."""
    seen = each > 0
    counted = np.where(np.isnan(outcomes), 1.0, values)
    return Weights(rows, outcomes, counted, tuple(seen.sum(0).tolist()), effective(each, seen))


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


def _prompts(traces: Traces, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """A number for each row, the same where group and words are; others share one with a chance of 2**-63 a pair."""
    draw, largest = np.random.default_rng(0), np.iinfo(np.int64).max
    of_words = draw.integers(largest, size=len(traces.encoder.lexicon))
    sums = np.concatenate([part.row_sums(of_words[part.ids] * part.counts) for _, part in traces.bags.slices()])
    codes, names = pd.factorize(traces.group[rows])
    of_groups = draw.integers(largest, size=len(names))
    return np.asarray(pd.factorize(sums[rows] + of_groups[codes])[0], np.int64)


def _requests(traces: Traces, rows: NDArray[np.int64], prompts: NDArray[np.int64]) -> NDArray[np.int64]:
    """A number for each row, the same where the prompt is and all else that the heads read."""
    tally = traces.tally.take(rows)
    beside = {name: getattr(tally, name) for name in REQUEST_INPUTS}
    return np.asarray(pd.DataFrame({"prompt": prompts, **beside}).groupby(["prompt", *beside]).ngroup(), np.int64)


def _once(prompts: NDArray[np.int64], values: Reals) -> Reals:
    """What the outcomes of each prompt have to be multiplied with to count as much as the weightiest of them."""
    shares = np.ones_like(values)
    for tier, own in enumerate(values.T):
        sums, most = np.bincount(prompts, own), np.zeros(prompts.max() + 1)
        np.maximum.at(most, prompts, own)
        shares[:, tier] = np.divide(most, sums, out=np.ones_like(sums), where=sums > 0)[prompts]
    return shares


def _merged(
    requests: NDArray[np.int64], outcomes: Reals, values: Reals, logged: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], Reals]:
    """One logged row for all of a request with the same outcomes, which counts as they do: places, and what they count.

    The sums of the vocabulary and the loss of the heads are the same, and a service that is asked the same things again
    and again takes no more memory than one that is not.
    """
    kind = np.nan_to_num(outcomes, nan=2.0).astype(np.int64) @ np.array([3, 1])
    alone = np.where(logged, -1, np.arange(len(requests)))
    table = pd.DataFrame({"request": requests, "kind": kind, "alone": alone})
    codes = table.groupby(list(table), sort=False).ngroup().to_numpy()  # in the order in which they first stand
    sums = np.stack([np.bincount(codes, column) for column in values.T], 1)
    return np.flatnonzero(~pd.Series(codes).duplicated().to_numpy()), np.asarray(sums, float)


def _decay(time: NDArray[np.datetime64], half_life_days: float | None, now: np.datetime64 | None) -> Reals:
    known = ~np.isnat(time)
    if half_life_days is None or not known.any():
        return np.ones(len(time))
    times = np.where(known, time, time[known].min())
    age = (max(times.max(), now) if now is not None else times.max()) - times
    return np.asarray(np.maximum(0.5 ** (age / DAY / half_life_days), LEAST_DECAY))
