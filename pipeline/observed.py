"""Rows that a router was not fitted on, with both outcomes: all that tuning and measuring it need, and no text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from features.bags import Ints
from pipeline import guarantee
from pipeline.heads import Features
from pipeline.metrics import Reals
from pipeline.router import Router
from pipeline.traces import Texts, Traces
from pipeline.usage import Usage


@dataclass(frozen=True, slots=True)
class Observed:
    """N rows, and what a router makes of them.

    Attributes:
        outcomes: float64[N, 2], 1 correct, 0 wrong.
        groups: codes, int64[N], in the order of bets (`guarantee.codes`); rows of a group are not independent.
        category: text[N].
        time: datetime64[us][N], UTC, NaT where not known.
        words, context_bytes: int64[N], size of the prompt and of the rest of the request.
        usage: what the answers took.
        features: float32[N, 10].
        probabilities: float64[N, 2], P(correct).
        evidence: float32[N].
    """

    outcomes: Reals
    groups: Ints
    category: Texts
    time: NDArray[np.datetime64]
    words: Ints
    context_bytes: Ints
    usage: Usage
    features: Features
    probabilities: Reals
    evidence: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.outcomes)

    @property
    def gain(self) -> NDArray[np.float32]:
        """P(pro correct) - P(flash correct) as the file computes it, float32[N]."""
        flash, pro = self.probabilities.astype(np.float32).T
        return np.asarray(pro - flash)

    @classmethod
    def concatenate(cls, parts: Sequence[Observed]) -> Observed:
        """One after the other; no group of one is a group of another."""
        arrays = (item.name for item in fields(cls) if item.name not in ("groups", "usage"))
        offsets = np.cumsum([0] + [int(part.groups.max(initial=-1)) + 1 for part in parts])
        return cls(
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in arrays},
            groups=np.concatenate([part.groups + offset for part, offset in zip(parts, offsets, strict=False)]),
            usage=Usage.concatenate([part.usage for part in parts]),
        )

    def take(self, rows: NDArray[np.integer]) -> Observed:
        """Some of the rows, in that order, their groups numbered anew."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        taken = {name: value[rows] for name, value in values.items() if isinstance(value, np.ndarray)}
        _, groups = np.unique(self.groups[rows], return_inverse=True)
        return Observed(**{**values, **taken, "groups": groups, "usage": self.usage.take(rows)})


@dataclass(frozen=True, slots=True)
class Part:
    """The traces of a part with both outcomes, and what a router makes of them."""

    traces: Traces
    observed: Observed


def observe(fitted: Router, traces: Traces, seed: int) -> Part:
    """What the router makes of those of the traces whose outcomes are both known; `seed` is of the order of groups."""
    both = traces.both_observed
    known = traces if both.all() else traces.take(np.flatnonzero(both))
    features, evidence = fitted.measure(known)
    return Part(known, observed(known, features, evidence, fitted.heads.probabilities(features), seed))


def observed(
    traces: Traces, features: Features, evidence: NDArray[np.float32], probabilities: Reals, seed: int
) -> Observed:
    """The rows of traces with both outcomes, whoever computed features, evidence and probabilities."""
    _, groups = np.unique(guarantee.codes(traces.group, seed), return_inverse=True)
    return Observed(
        traces.outcomes,
        groups,
        traces.category,
        traces.time,
        traces.tally.words,
        traces.tally.context_bytes,
        traces.usage,
        features,
        probabilities,
        evidence,
    )
