"""The best router of the ten features that knows everything: what regret is measured from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline import router, tune
from pipeline.frontier import evidence_floor
from pipeline.metrics import FLASH, PRO, Reals
from pipeline.router import Smoothing
from pipeline.year.prices import Prices
from pipeline.year.world import Mask, World


def best(world: World, prices: Prices, month: int, smoothing: Smoothing) -> Mask:
    """What it decides on each task in a month, bool[T].

    It is fitted on both outcomes of all tasks as they are in that month, each as often as the month's traffic asks it
    on average, and each seen by the vocabulary without its own group; its threshold is the best on them all. Nothing
    that learns from logs knows as much. It is no hindsight on the very requests drawn, so a policy may be luckier.
    """
    weights = world.weights(month)
    traces = replace(world.traces, outcomes=world.outcomes(month))
    made, left_out = router.fit(traces, smoothing, np.repeat(weights[:, None], 2, axis=1))
    floor = evidence_floor(left_out.evidence)
    scores = tune.scores(made.gain_of(left_out.features), left_out.evidence, floor)
    delivery = prices.costs(month).delivery
    return tune.sends_to_pro(scores, threshold(scores, weights * (delivery[:, PRO] - delivery[:, FLASH])))


def threshold(scores: Reals, dearer: Reals) -> float:
    """The score from which on requests go to pro at least cost; `dearer` is what pro costs more on each, float64[N]."""
    levels, place = np.unique(scores, return_inverse=True)
    spent = np.append(np.bincount(place, dearer)[::-1].cumsum()[::-1], 0.0)
    return float(np.append(levels, np.inf)[spent.argmin()])
