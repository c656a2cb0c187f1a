"""Timing of calls in turns: medians, and ratios within each round."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping

import numpy as np

from pipeline.metrics import Reals

ROUNDS = 60
SECONDS_PER_ROUND = 0.01
MOST_CALLS, FEWEST_CALLS = 200, 1

Call = Callable[[], object]


def medians(calls: Mapping[str, Call]) -> dict[str, Reals]:
    """Median microseconds of each call in each of `ROUNDS` rounds, in which the calls take turns, float64[ROUNDS]."""
    return {name: np.median(took, axis=1) for name, took in timed(calls).items()}


def timed(calls: Mapping[str, Call]) -> dict[str, Reals]:
    """Microseconds of every single call, float64[ROUNDS, calls of a round]; in a round the calls take turns."""
    counts = {name: _calls_per_round(call) for name, call in calls.items()}
    rounds: dict[str, list[list[float]]] = {name: [] for name in calls}
    gc.disable()
    try:
        for _ in range(ROUNDS):
            for name, call in calls.items():
                rounds[name].append([_seconds(call) * 1e6 for _ in range(counts[name])])
    finally:
        gc.enable()
    return {name: np.array(values) for name, values in rounds.items()}


def spread(values: Reals) -> str:
    """The middle half of repeated measurements."""
    low, high = np.quantile(values, [0.25, 0.75])
    return f"(middle half {low:.2f} to {high:.2f} of {len(values)})"


def _calls_per_round(call: Call) -> int:
    once = min(_seconds(call) for _ in range(3))
    return int(np.clip(SECONDS_PER_ROUND / once, FEWEST_CALLS, MOST_CALLS))


def _seconds(call: Call) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
