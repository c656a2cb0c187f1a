"""Log rows by task: a task that is asked again and again is one trace, which counts as often as it was seen.

As many rows of their own they would say the same, and take six times as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from features.bags import Ints
from pipeline.metrics import Reals
from pipeline.traces import Traces
from pipeline.year.known import Rows

HARDLY = 1e-9  # of an outcome that is not observed, and is not read


@dataclass(frozen=True, slots=True)
class Distinct:
    """N tasks, each once, with what became known of it.

    Attributes:
        traces: with the newest outcome of each tier, NaN where none is known.
        weights: float64[N, 2], > 0, how often each outcome counts.
    """

    traces: Traces
    weights: Reals


def repeated(tasks: Traces, parts: Sequence[Rows], day: float) -> Distinct:
    """Each outcome counts as often as it was seen, whatever its chance was."""
    found = _Sums(len(tasks))
    for part in parts:
        rows, tiers = np.nonzero((part.known <= day)[:, None] & ~np.isnan(part.outcomes))
        found.learn(part, rows, tiers)
        np.add.at(found.weights, (part.tasks[rows], tiers), 1.0)
    return found.distinct(tasks)


class _Sums:
    """What is known of T tasks."""

    def __init__(self, size: int) -> None:
        self.weights = np.zeros((size, 2))
        self.outcomes = np.full((size, 2), np.nan)

    def learn(self, part: Rows, rows: Ints, tiers: Ints) -> None:
        self.outcomes[part.tasks[rows], tiers] = part.outcomes[rows, tiers]

    def distinct(self, tasks: Traces) -> Distinct:
        kept = np.flatnonzero(self.weights.any(axis=1))
        traces = tasks.take(kept).with_outcomes(self.outcomes[kept])
        return Distinct(traces, np.maximum(self.weights[kept], HARDLY))
